import importlib.util
import zipfile
from pathlib import Path

import pytest
from image_trees import write_aircraft, write_cub200
from unpacking import unpacks

from openmix.data import tiny_imagenet
from openmix.data.base import ImageDataset
from openmix.data.tiny_imagenet import TinyImageNet
from openmix.registry import DATASETS
from openmix.shipped import tools_path


def command(name):
    spec = importlib.util.spec_from_file_location(name, tools_path(f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def main():
    return command('prepare_dataset').main


def test_every_data_set_with_files_of_its_own_can_be_prepared():
    known = command('prepare_dataset').preparable()
    nobody = ImageDataset.prepare.__func__
    in_a_package = {'Digits', 'RotatedDigits'}
    assert {name for name, cls in known.items() if cls.prepare.__func__ is not nobody} - in_a_package == {
        *('CIFAR10', 'CIFAR100', 'CUB200', 'FGVCAircraft', 'FashionMNIST', 'ImageNet', 'STL10', 'StanfordCars'),
        *('TinyImageNet', 'VOC'),
    }


@pytest.mark.parametrize(('name', 'write'), [('CUB200', write_cub200), ('FGVCAircraft', write_aircraft)])
def test_what_is_there_is_left_alone_and_verifies(main, tmp_path, capsys, name, write):
    write(tmp_path)
    assert main([name, '--root', str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f'python tools/verify_dataset.py --type {name} --root {tmp_path}' in said
    assert command('verify_dataset').main(['--type', name, '--root', str(tmp_path)]) == 0
    train, test, *table = capsys.readouterr().out.splitlines()
    official = DATASETS.get(name).OFFICIAL
    assert train == (
        'train: 12 images, served at 224x224, 3 classes, 4 to 4 images a class; '
        f'the official data set has {official["train"]}'
    )
    assert test.startswith('test: 6 images')
    assert [line.split()[-2:] for line in table] == [['train', 'test'], *[['4', '2']] * 3]


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('CUB', ("no data set 'CUB' to prepare", "did you mean 'CUB200'?")),
        ('Digits', ('Digits comes with scikit-learn', 'nothing to prepare')),
        ('ImageFolder', ('ImageFolder is not to be had from a publisher', 'put its files below')),
        ('CUB200', ('CUB_200_2011.tgz', 'https://data.caltech.edu', 'md5 97eceeb196236b17998738112f37df78')),
        ('FGVCAircraft', ('fgvc-aircraft-2013b.tar.gz', 'md5 d4acdd33327262359767eeaa97a4f732')),
        ('TinyImageNet', ('tiny-imagenet-200.zip', 'md5 90528d7ca1a48142e341f4ef8d21d0de')),
        ('FashionMNIST', ('train-images-idx3-ubyte.gz', 'md5 8d4fb7e6c68d591d4c3dfef9ec88bf0d')),
        ('STL10', ('stl10_binary.tar.gz', 'md5 91f7769df0f17e558f3565bffb0c7dfb')),
        ('ImageNet', ('ILSVRC2012_img_train.tar', 'https://image-net.org', 'md5 1d675b47d978889d74fa0da5fadfb00e')),
        ('StanfordCars', ('car_devkit.tgz', 'mirror', 'md5 c3b158d763b6e2245038c8ad08e45376')),
        ('VOC', ('VOCtrainval_06-Nov-2007.tar', 'md5 c52e279531787c972589f7e41ab4ae64')),
        ('CIFAR10', ('cifar-10-python.tar.gz', 'md5 c58f30108f718f92721af3b95e74349a')),
    ],
)
def test_without_a_network_one_line_says_what_to_get(main, tmp_path, capsys, monkeypatch, name, words):
    def offline(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr('urllib.request.urlopen', offline)
    assert main([name, '--root', str(tmp_path / 'data')]) == 2
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert line.startswith('error: ')
    for word in words:
        assert word in line


def test_a_truncated_image_is_found_by_the_check(tmp_path, capsys):
    write_cub200(tmp_path)
    image = tmp_path / 'CUB_200_2011/images/001.Kind_1/bird_0.jpg'
    image.write_bytes(image.read_bytes()[:300])
    assert command('verify_dataset').main(['--type', 'CUB200', '--root', str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f'error: {image} is not a readable image')
    assert said.count('\n') == 1
    assert command('verify_dataset').main(['--type', 'CUB200', '--root', str(image.parent)]) == 2
    assert 'should hold CUB_200_2011, found bird_0.jpg' in capsys.readouterr().err


@unpacks
def test_tiny_imagenet_is_unpacked_under_the_name_of_the_root(tiny_tree, tmp_path, monkeypatch):
    def download(url, root, file, md5):
        assert (url, md5) == (tiny_imagenet.URL, tiny_imagenet.MD5)
        with zipfile.ZipFile(f'{root}/{file}', 'w') as packed:
            for path in tiny_tree.rglob('*'):
                packed.write(path, Path('tiny-imagenet-200') / path.relative_to(tiny_tree))

    monkeypatch.setattr('openmix.data.download.download_url', download)
    TinyImageNet.prepare(tmp_path / 'elsewhere')
    assert len(TinyImageNet(str(tmp_path / 'elsewhere'), cache=False)) == 12
    TinyImageNet.prepare(tmp_path / 'elsewhere')
