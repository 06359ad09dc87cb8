import tarfile

import pytest
import torch
from image_trees import write_cars
from unpacking import unpacks

import openmix.data.stanford_cars as module
from openmix.data.stanford_cars import StanfordCars
from openmix.errors import InputError


@pytest.fixture
def tree(tmp_path):
    write_cars(tmp_path)
    return tmp_path


def test_reads_the_layout_of_the_archives(tree):
    train, test = StanfordCars(str(tree)), StanfordCars(str(tree), 'test')
    assert train.labels.tolist() == [0, 1, 2] * 4
    assert torch.bincount(test.labels).tolist() == [2, 2, 2]
    assert train.metainfo['classes'][2] == 'Acura TL Sedan 2012'
    assert train.path(1) == tree / 'stanford_cars/cars_train/00002.jpg'
    assert test.path(5) == tree / 'stanford_cars/cars_test/00006.jpg'
    assert train[0]['inputs'].shape == (3, 224, 224)


def test_facts_need_no_files():
    assert len(StanfordCars.facts(root='/nowhere').classes) == 196


@pytest.mark.parametrize(
    ('file', 'content', 'message'),
    [
        ('cars_test_annos_withlabels.mat', None, r'withlabels.mat is missing; run .*prepare_dataset.py StanfordCars'),
        ('cars_test_annos_withlabels.mat', b'cut', r'withlabels.mat is damaged; delete .*withlabels.mat and run'),
        ('devkit/cars_meta.mat', None, 'cars_meta.mat is missing'),
        ('devkit/cars_meta.mat', b'', 'damaged; delete'),
        ('cars_test/00003.jpg', None, r'00003.jpg of 6 images missing; delete .*cars_test and run'),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(tree, file, content, message):
    path = tree / 'stanford_cars' / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        StanfordCars(str(tree), 'test')
    assert '\n' not in str(error.value)


@unpacks
def test_archives_are_unpacked_or_asked_for(tmp_path, monkeypatch):
    source, root = tmp_path / 'source', tmp_path / 'cars'
    write_cars(source)
    with pytest.raises(InputError, match=r'car_devkit.tgz is missing; the server .* is gone: get car_devkit.tgz \(md5'):
        StanfordCars.prepare(root)
    folder = root / 'stanford_cars'
    folder.mkdir(parents=True)
    for file, unpacked, _ in module.FILES[:3]:
        with tarfile.open(folder / file, 'w:gz') as tar:
            tar.add(source / 'stanford_cars' / unpacked, unpacked)
    with pytest.raises(InputError, match=r'cannot fetch car_devkit.tgz \(the checksum differs\)') as error:
        StanfordCars.prepare(root)
    assert '\n' not in str(error.value)
    monkeypatch.setattr(module, 'FILES', tuple((file, unpacked, None) for file, unpacked, _ in module.FILES))
    with pytest.raises(InputError, match=r'cars_test_annos_withlabels.mat is missing; the server'):
        StanfordCars.prepare(root)
    (source / 'stanford_cars' / 'cars_test_annos_withlabels.mat').rename(folder / 'cars_test_annos_withlabels.mat')
    StanfordCars.prepare(root)
    assert len(StanfordCars(str(root), 'test')) == 6
