import numpy as np
import pytest
import torch
import torchvision.datasets
from image_trees import write_stl10

import openmix.data.stl10 as module
from openmix.data.imitation import imitation
from openmix.data.stl10 import STL10
from openmix.data.verify import describe, images_a_class
from openmix.errors import InputError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The official files with other content, which any sum fits."""
    monkeypatch.setattr(module, 'intact', lambda path, md5: True)
    write_stl10(tmp_path)
    return tmp_path


def test_reads_the_official_files(tmp_path, tree):
    pixels = write_stl10(tmp_path / 'again')
    train, test = STL10(str(tree)), STL10(str(tree), 'test')
    assert (len(train), len(test)) == (20, 30)
    assert train.labels.tolist() == [*range(10)] * 2
    assert train.labels.dtype == torch.int64
    assert np.array_equal(train.__getitems__(range(20))['inputs'].numpy(), pixels)
    assert train.array.is_contiguous()
    assert torch.bincount(STL10(str(tree), 'val', val_fraction=0.5).labels).tolist() == [1] * 10


def test_facts_touch_no_disk():
    facts = STL10.facts(root='/nowhere', split='train')
    assert (facts.size, facts.classes[2], len(facts.classes)) == ((96, 96), 'car', 10)


def test_what_is_missing_or_damaged_is_one_line(tree, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(
        InputError, match=r'a file under .*stl10_binary is damaged; delete that folder and run'
    ) as error:
        STL10(str(tree))
    assert '\n' not in str(error.value)
    (tree / 'stl10_binary' / 'test_y.bin').unlink()
    with pytest.raises(InputError, match=r'test_y.bin is missing; run python tools/prepare_dataset.py STL10 --root'):
        STL10(str(tree))


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    def download(self):
        raise OSError('no network')

    monkeypatch.setattr(torchvision.datasets.STL10, 'download', download)
    with pytest.raises(
        InputError,
        match=r'cannot fetch stl10_binary.tar.gz \(no network\); get http.* \(md5 91f7.*put it under .*repeat',
    ):
        STL10.prepare(tmp_path)


def test_images_without_labels_are_a_split_of_their_own(tmp_path):
    with imitation({'type': 'STL10'}, tmp_path) as root:
        data = STL10(str(root), 'unlabelled')
        assert len(data) == 80
        assert set(data.__getitems__([3, 1])) == set(data[3]) == {'inputs', 'ids'}
        raw = np.fromfile(root / 'stl10_binary' / 'unlabeled_X.bin', np.uint8).reshape(80, 3, 96, 96)
        assert np.array_equal(data[3]['inputs'].numpy(), raw[3].transpose(0, 2, 1))
        assert len(STL10(str(root), 'unlabelled', subset=16)) == 16
        assert images_a_class(data) == [0] * 10
        assert describe(data, {'split': 'unlabelled'}).startswith('80 images, served at 96x96, no labels')
        drawn = {split: STL10.drawn(str(root), split) for split in ('train', 'test', 'unlabelled')}
        assert not drawn['unlabelled'].shares(drawn['train'])
        assert drawn['unlabelled'].shares(drawn['unlabelled'])
        (root / 'stl10_binary' / 'unlabeled_X.bin').unlink()
        assert len(STL10(str(root), 'train')) == 40
        with pytest.raises(InputError, match=r'unlabeled_X.bin is missing; run python tools/prepare_dataset.py STL10'):
            STL10(str(root), 'unlabelled')


def test_a_split_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(InputError, match=r"STL10 has no split 'unlabeled'; did you mean 'unlabelled'"):
        STL10(str(tmp_path), 'unlabeled')
