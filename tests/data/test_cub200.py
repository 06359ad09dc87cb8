import tarfile

import pytest
import torch
from image_trees import write_cub200
from unpacking import unpacks

import openmix.data.cub200 as module
from openmix.data.cub200 import CUB200
from openmix.errors import InputError


@pytest.fixture
def tree(tmp_path):
    write_cub200(tmp_path)
    return tmp_path


def test_reads_the_official_layout(tree):
    train, test = CUB200(str(tree)), CUB200(str(tree), 'test')
    assert torch.bincount(train.labels).tolist() == [4, 4, 4]
    assert torch.bincount(test.labels).tolist() == [2, 2, 2]
    assert not set(train.paths) & set(test.paths)
    assert [path.name for path in test.paths[:2]] == ['bird_1.jpg', 'bird_3.jpg']
    assert [path.parent.name for path in test.paths] == [f'{c + 1:03d}.Kind_{c + 1}' for c in test.labels]
    assert train.metainfo['classes'] == ('Kind 1', 'Kind 2', 'Kind 3')
    assert train[0]['inputs'].shape == (3, 224, 224)
    val = CUB200(str(tree), 'val', val_fraction=0.25)
    assert torch.bincount(val.labels).tolist() == [1, 1, 1]


def test_facts_need_no_files():
    facts = CUB200.facts(root='/nowhere', split='train', pipeline=[])
    assert (len(facts.classes), facts.size, facts.mean) == (200, (224, 224), (0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ('file', 'text', 'message'),
    [
        ('images.txt', None, r'images.txt is missing; run python tools/prepare_dataset.py CUB200 --root'),
        ('classes.txt', None, r'classes.txt is missing'),
        ('train_test_split.txt', '1 1\n2 0\n', r'lists 2 images and images.txt 18; delete .*CUB_200_2011 and run'),
        ('image_class_labels.txt', '1 1\n1 1\n', r'image_class_labels.txt:2: expected a new number and a value'),
        ('classes.txt', '1 001.Kind_1\n2 002.Kind_2\n', r"image 13 is of class '3', which is not in classes.txt"),
        ('images/001.Kind_1/bird_0.jpg', None, r'bird_0.jpg of 12 images missing; delete'),
    ],
)
def test_what_is_missing_or_cut_short_is_one_line(tree, file, text, message):
    path = tree / 'CUB_200_2011' / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        CUB200(str(tree))
    assert '\n' not in str(error.value)


def test_a_truncated_image_is_named(tree):
    path = tree / 'CUB_200_2011/images/002.Kind_2/bird_0.jpg'
    path.write_bytes(path.read_bytes()[:200])
    data = CUB200(str(tree))
    assert data.unreadable() == [path]
    with pytest.raises(InputError, match=r'bird_0.jpg is not a readable image; replace or remove it'):
        data.__getitems__([4])


@unpacks
def test_an_archive_that_is_there_is_checked_and_unpacked(tmp_path, monkeypatch):
    write_cub200(tmp_path / 'source')
    root = tmp_path / 'cub200'
    root.mkdir()
    archive = root / 'CUB_200_2011.tgz'
    archive.write_bytes(b'cut off')
    monkeypatch.setattr('torchvision.datasets.utils._get_redirect_url', lambda url, **kwargs: url)
    monkeypatch.setattr('torchvision.datasets.utils._urlretrieve', lambda *args, **kwargs: None)
    with pytest.raises(InputError, match=r'cannot fetch CUB_200_2011.tgz \(File not found or corrupted\)') as error:
        CUB200.prepare(root)
    assert '\n' not in str(error.value)
    with tarfile.open(archive, 'w:gz') as tar:
        tar.add(tmp_path / 'source' / 'CUB_200_2011', 'CUB_200_2011')
    monkeypatch.setattr(module, 'MD5', None)
    CUB200.prepare(root)
    assert len(CUB200(str(root))) == 12
    archive.unlink()
    CUB200.prepare(root)  # nothing left to do
