import numpy as np
import pytest
import torch
from image_trees import save_image
from PIL import Image

from openmix.data.tiny_imagenet import OFFICIAL_WNIDS, TinyImageNet
from openmix.errors import InputError


def test_reads_the_official_layout(tiny_tree):
    train, test = TinyImageNet(str(tiny_tree)), TinyImageNet(str(tiny_tree), 'test')
    assert (len(train), len(test)) == (12, 6)
    assert train.labels.tolist() == [c for c in range(3) for _ in range(4)]  # sorted ids, not the file's order
    assert test.labels.tolist() == [2, 2, 0, 0, 1, 1]  # the order of the annotations
    assert train.metainfo['classes'] == ('koala', 'brain coral', 'n03')
    grey = np.asarray(Image.open(tiny_tree / 'train/n01/images/n01_0.JPEG'))
    assert grey.ndim == 2
    assert np.array_equal(train[0]['inputs'].numpy(), np.stack([grey] * 3))
    colour = np.asarray(Image.open(tiny_tree / 'train/n02/images/n02_3.JPEG'))
    assert np.array_equal(train[7]['inputs'].numpy(), colour.transpose(2, 0, 1))


def test_classes_are_those_of_wnids_txt(tiny_tree):
    (tiny_tree / 'wnids.txt').write_text('n03\nn01\n')
    train, test = TinyImageNet(str(tiny_tree)), TinyImageNet(str(tiny_tree), 'test')
    assert TinyImageNet.facts(root=str(tiny_tree)).classes == ('koala', 'n03')
    assert torch.bincount(train.labels).tolist() == [4, 4]
    assert torch.bincount(test.labels).tolist() == [2, 2]


def test_facts_without_the_data_are_the_official_ones(tmp_path):
    facts = TinyImageNet.facts(root=str(tmp_path / 'absent'), split='train')
    assert facts.classes == OFFICIAL_WNIDS
    assert len(set(OFFICIAL_WNIDS)) == 200
    assert facts.size == (64, 64)


def test_holds_out_and_subsets(tiny_tree):
    val = TinyImageNet(str(tiny_tree), 'val', val_fraction=0.25)
    train = TinyImageNet(str(tiny_tree), 'train', val_fraction=0.25, subset=6)
    assert torch.bincount(val.labels).tolist() == [1, 1, 1]
    assert torch.bincount(train.labels).tolist() == [2, 2, 2]
    assert not set(val.rows.tolist()) & set(train.rows.tolist())
    assert torch.equal(val[0]['inputs'], val.array[val.rows[0]])


@pytest.mark.parametrize(
    ('broken', 'message'),
    [
        ('wnids.txt', r'wnids.txt is missing; unpack http'),
        ('val/val_annotations.txt', 'val_annotations.txt is missing'),
        ('val/images/val_0.JPEG', r'val_annotations.txt:1: .*val_0.JPEG is missing'),
    ],
)
def test_what_is_missing_is_named(tiny_tree, broken, message):
    (tiny_tree / broken).unlink()
    with pytest.raises(InputError, match=message) as error:
        TinyImageNet(str(tiny_tree), 'test')
    assert '\n' not in str(error.value)


def test_a_class_without_images_and_a_bad_line_are_named(tiny_tree):
    (tiny_tree / 'wnids.txt').write_text('n01\nn07\n')
    with pytest.raises(InputError, match=r'no \*.JPEG under .*n07/images'):
        TinyImageNet(str(tiny_tree))
    (tiny_tree / 'val' / 'val_annotations.txt').write_text('val_0.JPEG n01\n')
    with pytest.raises(InputError, match=r'val_annotations.txt:1: expected an image and its class'):
        TinyImageNet(str(tiny_tree), 'test')


def test_unreadable_images_stop_or_are_skipped(tiny_tree):
    (tiny_tree / 'train/n02/images/n02_1.JPEG').write_bytes(b'no image')
    with pytest.raises(InputError, match=r'n02_1.JPEG is not a readable image.*skip_corrupt=True'):
        TinyImageNet(str(tiny_tree))
    with pytest.warns(UserWarning, match='1 unreadable images skipped'):
        train = TinyImageNet(str(tiny_tree), skip_corrupt=True)
    assert torch.bincount(train.labels).tolist() == [4, 3, 4]
    expected = np.asarray(Image.open(tiny_tree / 'train/n02/images/n02_2.JPEG')).transpose(2, 0, 1)
    assert np.array_equal(train[5]['inputs'].numpy(), expected)
    assert not list((tiny_tree / '.openmix').glob('*'))  # an incomplete split is not kept
    save_image(tiny_tree / 'train/n02/images/n02_1.JPEG')
    assert len(TinyImageNet(str(tiny_tree))) == 12
