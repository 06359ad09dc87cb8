"""Test the published corrupted images: their files, what is refused of them, and the mean corruption error."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from openmix.data.cifar import CIFAR10
from openmix.data.corrupted import CIFAR10C, CIFAR100C, CORRUPTIONS, FURTHER, ImageNetC, corrupted_images
from openmix.errors import InputError
from openmix.evaluation.corrupted_files import corrupted_tests, mean_corruption_error
from openmix.registry import DATASETS

WNIDS = ['n01440764', 'n01443537']


@pytest.fixture
def cifar(tmp_path):
    """Write 5 x 20 images in the layout of CIFAR-10-C; each pixel of an image is its number."""
    images = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 32, 32, 3)).copy()
    images[..., 1] = 200
    np.save(tmp_path / 'contrast.npy', images)
    np.save(tmp_path / 'labels.npy', np.tile(np.arange(20) % 10, 5).astype(np.uint8))
    return tmp_path


def test_severities_follow_each_other(cifar):
    data = CIFAR10C(str(cifar), 'contrast/3')
    assert len(data) == 20
    batch = data.__getitems__([0, 19])
    assert batch['inputs'].shape == (2, 3, 32, 32)
    assert batch['inputs'].is_contiguous()
    assert batch['inputs'][:, 0, 5, 7].tolist() == [40, 59]
    assert batch['inputs'][:, 1].unique().tolist() == [200]
    assert batch['labels'].tolist() == [0, 9]
    assert batch['labels'].dtype == torch.int64
    assert CIFAR10C.splits_in(str(cifar)) == [f'contrast/{severity}' for severity in range(1, 6)]
    assert len(CIFAR10C(str(cifar), 'contrast/1', subset=10)) == 10


def wrong(folder, change):
    images, labels = np.load(folder / 'contrast.npy'), np.load(folder / 'labels.npy')
    if change == 'no images':
        (folder / 'contrast.npy').unlink()
    elif change == 'a pipe':
        (folder / 'contrast.npy').unlink()
        (folder / 'contrast.npy').mkdir()
    elif change == 'no labels':
        (folder / 'labels.npy').unlink()
    elif change == 'cut':
        (folder / 'contrast.npy').write_bytes((folder / 'contrast.npy').read_bytes()[:-5])
    elif change == 'a pickle':
        (folder / 'contrast.npy').write_bytes(pickle.dumps(images))
    elif change == 'objects':
        np.save(folder / 'contrast.npy', np.array([{}, 1], dtype=object), allow_pickle=True)
    elif change == 'an archive':
        np.savez(folder / 'contrast', images=images)
        (folder / 'contrast.npz').rename(folder / 'contrast.npy')
    else:
        image_of = {'floats': images / 255.0, 'channels first': images.transpose(0, 3, 1, 2), 'four': images[:99]}
        label_of = {'short': labels[:20], 'large': labels + 1, 'float labels': labels / 2, 'columns': labels[:, None]}
        np.save(folder / 'contrast.npy', image_of.get(change, images))
        np.save(folder / 'labels.npy', label_of.get(change, labels))


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        ('no images', 'contrast.npy is missing; unpack the published archive there'),
        ('a pipe', 'contrast.npy is a folder'),
        ('no labels', 'labels.npy is missing'),
        ('cut', 'contrast.npy is no NumPy array'),
        ('a pickle', 'contrast.npy is no NumPy array'),
        ('objects', 'contrast.npy is no NumPy array'),
        ('an archive', 'contrast.npy is no NumPy array of images'),
        ('floats', 'must hold uint8 images (5 N, 32, 32, 3), got float64'),
        ('channels first', 'must hold uint8 images (5 N, 32, 32, 3), got uint8 (100, 3, 32, 32)'),
        ('four', 'must hold uint8 images (5 N, 32, 32, 3), got uint8 (99, 32, 32, 3)'),
        ('short', 'must hold 100 integers, a label for each image of contrast.npy, got uint8 (20,)'),
        ('columns', 'a label for each image of contrast.npy, got uint8 (100, 1)'),
        ('float labels', 'must hold 100 integers'),
        ('large', 'labels that are not in 0 .. 9'),
    ],
)
def test_files_that_hold_something_else_are_one_line(cifar, change, line):
    wrong(cifar, change)
    with pytest.raises(InputError) as caught:
        CIFAR10C(str(cifar), 'contrast/1')
    assert line in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('split', 'line'),
    [('contrasts/1', "did you mean 'contrast'"), ('contrast', 'from 1 to 5'), ('contrast/6', 'from 1 to 5')],
)
def test_a_split_that_is_none_is_one_line(cifar, split, line):
    with pytest.raises(InputError, match=line):
        CIFAR10C(str(cifar), split)


def test_a_folder_without_files_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r'has no gaussian_noise\.npy'):
        CIFAR10C.splits_in(str(tmp_path))
    with pytest.raises(InputError, match='contrast is missing; unpack'):
        ImageNetC(str(tmp_path), 'contrast/1', classes=WNIDS)
    with pytest.raises(InputError, match='is no folder'):
        corrupted_tests({'type': 'CIFAR10', 'root': 'x'}, str(tmp_path / 'none'))
    with pytest.raises(InputError, match="did you mean 'fog'"):
        corrupted_tests({'type': 'CIFAR10', 'root': 'x'}, str(tmp_path), ['foggy'])


@pytest.mark.parametrize('cls', [CIFAR10C, CIFAR100C, ImageNetC])
def test_stand_ins_are_read(cls, tmp_path):
    said = {'classes': WNIDS} if cls is ImageNetC else {}
    cls.imitate(tmp_path, split='fog/2', **said)
    data = cls(str(tmp_path), 'fog/2', **said)
    assert len(data) >= 40
    assert data.images_a_class().min() >= 2
    assert 'fog/2' in cls.splits_in(str(tmp_path))


def test_images_of_imagenet_c_are_not_resized_again(tmp_path):
    """The middle of each image is what a clean test crops, and a larger crop is refused."""
    for wnid in WNIDS:
        (tmp_path / 'fog' / '2' / wnid).mkdir(parents=True)
        image = np.zeros((224, 224, 3), np.uint8)
        image[112:, :] = 250
        Image.fromarray(image).save(tmp_path / 'fog' / '2' / wnid / 'a.JPEG', quality=100)
    crop = [{'type': 'torchvision/Resize', 'size': 256}, {'type': 'torchvision/CenterCrop', 'size': 224}]
    clean = {'type': 'ImageNet', 'root': 'x', 'split': 'test', 'classes': WNIDS, 'pipeline': crop}
    found = corrupted_images(clean, str(tmp_path), 'fog', 2)
    assert found['pipeline'] == crop[1:]
    image = DATASETS.build(found).__getitems__([0])['inputs'][0]
    assert image.shape == (3, 224, 224)
    assert int(image[:, :111].max()) < 30
    assert int(image[:, 113:].min()) > 220
    crop[1]['size'] = 288
    with pytest.raises(InputError, match='224 pixels a side, and 288 are asked for'):
        DATASETS.build(corrupted_images(clean, str(tmp_path), 'fog', 2))


def test_which_data_set_holds_the_corrupted_images():
    clean = {'type': 'CIFAR10', 'root': 'data', 'split': 'test', 'subset': 100, 'download': True}
    assert corrupted_images(clean, 'c', 'fog', 2) == {'type': 'CIFAR10C', 'root': 'c', 'split': 'fog/2', 'subset': 100}
    assert CIFAR10C.FACTS is CIFAR10.FACTS


def test_mean_corruption_error_is_that_of_the_paper():
    """AlexNet itself has 100 %; half its error in one kind takes away half of a fifteenth."""
    alexnet = [0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572, 0.819324]
    alexnet += [0.564592, 0.853204, 0.646056, 0.717840, 0.606500]
    errors = {
        f'{kind}/{severity}': 100 * error for kind, error in zip(CORRUPTIONS, alexnet) for severity in range(1, 6)
    }
    assert mean_corruption_error(errors) == pytest.approx(100)
    half = {name: error / 2 if name.startswith('fog/') else error for name, error in errors.items()}
    assert mean_corruption_error(half) == pytest.approx(100 - 50 / 15)
    assert mean_corruption_error({**errors, 'saturate/1': 0.0}) == pytest.approx(100)
    del errors['fog/5']
    assert mean_corruption_error(errors) is None
    assert len(CORRUPTIONS) == 15
    assert not set(CORRUPTIONS) & set(FURTHER)
