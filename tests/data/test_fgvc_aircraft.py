import pytest
import torch
from image_trees import write_aircraft

from openmix.data.fgvc_aircraft import FGVCAircraft
from openmix.errors import InputError


@pytest.fixture
def tree(tmp_path):
    write_aircraft(tmp_path)
    return tmp_path


def test_reads_the_official_layout(tree):
    train, test = FGVCAircraft(str(tree)), FGVCAircraft(str(tree), 'test')
    assert torch.bincount(train.labels).tolist() == [4, 4, 4]  # official training and validation
    assert torch.bincount(test.labels).tolist() == [2, 2, 2]
    assert not set(train.paths) & set(test.paths)
    assert train.metainfo['classes'] == ('707-320', 'A300B4', '727-200 X')
    assert train.path(0) == tree / 'fgvc-aircraft-2013b/data/images/1000001.jpg'
    assert test.labels[0] == 0
    assert test.path(0).name == '1000005.jpg'
    assert train[0]['inputs'].shape == (3, 224, 224)


def test_the_banner_stays(tree):
    whole = FGVCAircraft(str(tree), size=(60, 70))
    assert whole[0]['inputs'].shape == (3, 60, 70)


def test_facts_need_no_files():
    assert len(FGVCAircraft.facts(root='/nowhere').classes) == 100


@pytest.mark.parametrize(
    ('file', 'text', 'message'),
    [
        ('images_variant_test.txt', None, r'images_variant_test.txt is missing; delete .*2013b and run .*FGVCAircraft'),
        ('variants.txt', None, 'variants.txt is missing'),
        ('images_variant_test.txt', '1000005 747\n', r"images_variant_test.txt is damaged: '747' is no line or class"),
        ('images_variant_test.txt', '10000\n', 'images_variant_test.txt is damaged'),
        ('images/1000006.jpg', None, r'1000006.jpg of 6 images missing'),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(tree, file, text, message):
    path = tree / 'fgvc-aircraft-2013b/data' / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        FGVCAircraft(str(tree), 'test')
    assert '\n' not in str(error.value)


def test_another_root_says_what_was_expected_and_found(tree):
    with pytest.raises(InputError, match=r'none is missing; run python tools/prepare_dataset.py FGVCAircraft --root'):
        FGVCAircraft(str(tree / 'none'))
    with pytest.raises(InputError, match=r'2013b should hold fgvc-aircraft-2013b, found data; run .* or set root to'):
        FGVCAircraft(str(tree / 'fgvc-aircraft-2013b'))
