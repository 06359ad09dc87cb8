"""With any content of the official lists, a data set is built or one error line names the file."""

import os
import pickle
import warnings

import numpy as np
import pytest
import torchvision.datasets
from image_trees import write_aircraft, write_cars, write_cifar, write_cub200, write_imagenet, write_stl10
from mutations import MUTANTS
from scipy.io import savemat
from test_cifar import accept_any_sum
from test_imagenet import WNIDS, write_devkit
from test_read import mutated

from openmix.data import stl10
from openmix.data.cifar import CIFAR10
from openmix.data.cub200 import CUB200
from openmix.data.fgvc_aircraft import FGVCAircraft
from openmix.data.imagenet import ImageNet, validation_classes
from openmix.data.lists import read_arrays
from openmix.data.stanford_cars import StanfordCars
from openmix.data.tiny_imagenet import TinyImageNet
from openmix.errors import InputError

RAN = []


class Runs:
    def __reduce__(self):
        return RAN.append, (1,)


def refused(build, message=''):
    with pytest.raises(InputError, match=message) as error:
        build()
    assert len(str(error.value).splitlines()) == 1
    str(error.value).encode()
    return str(error.value)


def test_a_pickle_does_not_run(tmp_path, monkeypatch):
    accept_any_sum(monkeypatch, torchvision.datasets.CIFAR10)
    write_cifar(tmp_path, torchvision.datasets.CIFAR10)
    file = tmp_path / 'cifar-10-batches-py' / 'data_batch_3'
    for content in ({'data': Runs(), 'labels': []}, Runs(), {'data': os.system}):
        file.write_bytes(pickle.dumps(content))
        refused(lambda: CIFAR10(str(tmp_path)), 'data_batch_3 is damaged; delete that folder')
    assert not RAN
    assert read_arrays('x', tmp_path / 'cifar-10-batches-py' / 'data_batch_1', '')['data'].shape == (20, 3072)


@pytest.mark.parametrize(
    'content',
    [
        [],
        {},
        {'data': np.zeros((2, 3072), np.uint8)},
        {'data': np.zeros((2, 3072)), 'labels': [1, 2]},
        {'data': np.zeros((2, 3071), np.uint8), 'labels': [1, 2]},
        {'data': np.zeros((2, 3072), np.uint8), 'labels': [1]},
        {'data': np.zeros((2, 3072), np.uint8), 'labels': [1, 10]},
        {'data': np.zeros((2, 3072), np.uint8), 'labels': [1, 'x']},
        {'data': [[0] * 3072] * 2, 'labels': [1, 2]},
    ],
)
def test_cifar_of_other_types(tmp_path, monkeypatch, content):
    accept_any_sum(monkeypatch, torchvision.datasets.CIFAR10)
    write_cifar(tmp_path, torchvision.datasets.CIFAR10)
    (tmp_path / 'cifar-10-batches-py' / 'data_batch_1').write_bytes(pickle.dumps(content))
    refused(lambda: CIFAR10(str(tmp_path)), 'data_batch_1')


def test_stl10_of_other_sizes(tmp_path, monkeypatch):
    write_stl10(tmp_path)
    folder = tmp_path / 'stl10_binary'
    monkeypatch.setattr(stl10, 'intact', lambda path, md5: True)
    assert len(stl10.STL10(str(tmp_path))) == 20
    whole = (folder / 'train_X.bin').read_bytes(), (folder / 'train_y.bin').read_bytes()
    for pixels, labels in ((whole[0][:-1], whole[1]), (whole[0], whole[1][:-1]), (whole[0], b'\0' + whole[1][1:])):
        (folder / 'train_X.bin').write_bytes(pixels)
        (folder / 'train_y.bin').write_bytes(labels)
        refused(lambda: stl10.STL10(str(tmp_path)), 'stl10_binary is damaged')


@pytest.mark.parametrize(
    ('file', 'content', 'message'),
    [
        ('images.txt', b'\xff\xfe1 x', 'images.txt is damaged'),
        ('classes.txt', b'', 'which is not in classes.txt'),
        ('train_test_split.txt', b'1 2\n', 'lists 1 images'),
        ('classes.txt', None, ''),
    ],
)
def test_cub_lists(tmp_path, file, content, message):
    write_cub200(tmp_path)
    place = tmp_path / 'CUB_200_2011' / file
    place.unlink()
    place.mkdir() if content is None else place.write_bytes(content)
    refused(lambda: CUB200(str(tmp_path)), message if content is not None else 'classes.txt is a folder, not a file; ')


def test_cub_halves_are_0_or_1(tmp_path):
    write_cub200(tmp_path)
    file = tmp_path / 'CUB_200_2011' / 'train_test_split.txt'
    file.write_text(file.read_text().replace('3 1', '3 2'))
    refused(lambda: CUB200(str(tmp_path)), "image 3 is in the half '2'")


@pytest.mark.parametrize(
    ('variable', 'value'),
    [
        ('annotations', np.zeros(3)),
        ('annotations', np.array([(1, '0.jpg')], [('class', 'i4'), ('fname', object)])),
        ('annotations', np.array([(0, '00001.jpg')] * 2, [('class', 'i4'), ('fname', object)])),
        ('annotations', np.array([('x', 3)] * 2, [('class', object), ('fname', object)])),
        ('others', np.zeros(3)),
    ],
)
def test_cars_of_other_types(tmp_path, variable, value):
    write_cars(tmp_path)
    savemat(tmp_path / 'stanford_cars' / 'devkit' / 'cars_train_annos.mat', {variable: value})
    refused(lambda: StanfordCars(str(tmp_path)), r'cars_train_annos.mat is damaged|images missing')


def doors(root, tiny):
    """A data set and one of its lists each."""
    write_cub200(root / 'cub')
    write_aircraft(root / 'aircraft')
    write_cars(root / 'cars')
    write_imagenet(root / 'imagenet', WNIDS, val=0)
    write_devkit(root / 'imagenet')
    for file in ('images', 'image_class_labels', 'train_test_split', 'classes'):
        yield root / 'cub' / 'CUB_200_2011' / f'{file}.txt', lambda: CUB200(str(root / 'cub'))
    for file in ('variants', 'images_variant_trainval'):
        place = root / 'aircraft' / 'fgvc-aircraft-2013b' / 'data' / f'{file}.txt'
        yield place, lambda: FGVCAircraft(str(root / 'aircraft'))
    for file in ('cars_meta', 'cars_train_annos'):
        place = root / 'cars' / 'stanford_cars' / 'devkit' / f'{file}.mat'
        yield place, lambda: StanfordCars(str(root / 'cars'))
    for file in ('meta.mat', 'ILSVRC2012_validation_ground_truth.txt'):
        place = root / 'imagenet' / 'ILSVRC2012_devkit_t12' / 'data' / file
        yield place, lambda: validation_classes(root / 'imagenet')
    for file in ('wnids.txt', 'words.txt', 'val/val_annotations.txt'):
        yield tiny / file, lambda: TinyImageNet(str(tiny), 'test', cache=False)


def test_any_bytes_in_a_list_are_a_data_set_or_one_line(tmp_path, tiny_tree):
    rng, outcomes = np.random.default_rng(2), {True: 0, False: 0}
    for place, build in doors(tmp_path, tiny_tree):
        whole = place.read_bytes()
        build()
        for _ in range(MUTANTS // 8):
            place.write_bytes(mutated(whole, rng))
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                try:
                    build()
                except InputError as error:
                    line = str(error)
                else:
                    line = ''
            assert len(line.splitlines()) <= 1
            line.encode()
            outcomes[bool(line)] += 1
        place.write_bytes(whole)
    assert min(outcomes.values()) > 10


def test_only_class_ids_are_taken_from_a_folder_of_classes(tmp_path, tiny_tree):
    for wnids, message in (('../..', 'is no WordNet id'), ('n01 n01', 'comes twice'), ('n01/images', 'is no WordNet')):
        (tiny_tree / 'wnids.txt').write_text(wnids)
        refused(lambda: TinyImageNet(str(tiny_tree), cache=False), message)
    write_imagenet(tmp_path, WNIDS)
    (tmp_path / 'train' / WNIDS[0] / 'more').symlink_to('/nowhere')
    refused(lambda: ImageNet(str(tmp_path), classes=WNIDS), 'leads nowhere')
