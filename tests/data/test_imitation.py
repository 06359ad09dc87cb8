"""Every data set writes a stand-in in its official layout and reads it like the published files."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import torch
from registered import registered

import openmix.data.imitation
from openmix.data.base import ImageDataset
from openmix.data.imitation import imitation
from openmix.errors import InputError
from openmix.registry import DATASETS

DIGESTED = ('CIFAR10', 'CIFAR100', 'FashionMNIST', 'STL10')
OWN = {
    name: cls
    for name, cls in registered(DATASETS).items()
    if issubclass(cls, ImageDataset)
    and cls.imitate.__func__ is not ImageDataset.imitate.__func__
    and {key for key, p in inspect.signature(cls).parameters.items() if p.default is p.empty} <= {'root'}
}


def built(name, root, **options):
    where = {'root': str(root)} if 'root' in inspect.signature(OWN[name]).parameters else {}
    return OWN[name](**where, **options)


@pytest.mark.parametrize('name', [name for name, cls in OWN.items() if cls.has_labels()])
def test_every_class_has_images_in_both_halves(name, tmp_path):
    options = {'size': 32} if 'size' in inspect.signature(OWN[name]).parameters else {}
    classes = [] if name in ('ImageFolder', 'VOCFolder') else OWN[name].facts(root='').classes
    with imitation({'type': name}, tmp_path) as root, imitation({'type': name, 'split': 'test'}, tmp_path):
        for split in ('train', 'test'):
            data = built(name, root, split=split, **options)
            named = data.metainfo['classes']
            assert len(named) == len(classes or named)
            counts = data.images_a_class()
            assert len(counts) == len(named)
            assert not named or counts.min() >= 2
            assert len(data) >= 40
            inputs = data.__getitems__(torch.arange(4))['inputs']
            assert len(inputs) == 4
            assert all(image.dtype == torch.uint8 and image.shape[0] == 3 for image in inputs)


def test_images_without_labels_are_written_too(tmp_path):
    with imitation({'type': 'UnlabelledFolder', 'split': 'more'}, tmp_path) as root:
        assert len(built('UnlabelledFolder', root, split='more')) >= 40


@pytest.mark.parametrize('name', DIGESTED)
def test_files_count_as_the_published_ones_only_meanwhile(name, tmp_path):
    with imitation({'type': name}, tmp_path) as root:
        built(name, root)
        (tmp_path.parent / 'link').unlink(missing_ok=True)
        (tmp_path.parent / 'link').symlink_to(tmp_path)
        built(name, tmp_path.parent / 'link')
    with pytest.raises(InputError, match='is damaged'):
        built(name, root)


@pytest.mark.parametrize('name', DIGESTED)
def test_other_files_keep_their_sums_meanwhile(name, tmp_path):
    with imitation({'type': name}, tmp_path / 'other'):
        pass
    with imitation({'type': name}, tmp_path / 'one'), pytest.raises(InputError, match='is damaged'):
        built(name, tmp_path / 'other')


def test_one_root_serves_several_splits_and_classes(tmp_path):
    options = {'type': 'ImageFolder', 'classes': ['b', 'a']}
    with imitation(options, tmp_path) as root, imitation({**options, 'split': 'holdout'}, root):
        for split in ('train', 'holdout'):
            data = DATASETS.build({**options, 'root': str(root), 'split': split, 'size': 32})
            assert data.metainfo['classes'] == ('b', 'a')
            assert torch.bincount(data.labels).tolist() == [20, 20]


def test_some_classes_of_many(tmp_path):
    wnids = ['n01440764', 'n01443537']
    with imitation({'type': 'ImageNet', 'classes': wnids}, tmp_path) as root:
        assert sorted(path.name for path in (root / 'val').iterdir()) == wnids
        assert len(DATASETS.build({'type': 'ImageNet', 'classes': wnids, 'root': str(root), 'split': 'test'})) == 40


@pytest.mark.parametrize('base', [ImageDataset, torch.utils.data.Dataset])
def test_a_data_set_that_writes_none_says_what_to_write(base, tmp_path):
    own = type('Own', (base,), {})
    with (
        pytest.raises(
            InputError, match=r"'Own': give it a class method imitate\(root, \*\*kwargs\) .*docs/data.md$"
        ) as error,
        imitation({'type': own}, tmp_path),
    ):
        pass
    assert '\n' not in str(error.value)


def test_nothing_central_names_a_data_set():
    source = Path(openmix.data.imitation.__file__).read_text()
    assert not re.search('|'.join(registered(DATASETS)), source)
    imports = [node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert {name for name in imports if name.startswith('openmix')} == {'openmix.errors', 'openmix.registry'}
