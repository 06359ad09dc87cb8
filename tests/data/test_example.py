"""Test `ImageDataset.example`, the batch of a data set without its files."""

import builtins
import inspect
import os

import pytest
import torch
from registered import registered

from openmix.data.base import ImageDataset, OfficialHalves
from openmix.data.box_files import BoxFiles
from openmix.data.facts import Facts
from openmix.data.imitation import imitation
from openmix.errors import InputError
from openmix.registry import DATASETS

PARAMETERS = {name: inspect.signature(cls).parameters for name, cls in registered(DATASETS).items()}
# Those that are built from a folder alone, or from nothing.
OWN = {
    name: cls
    for name, cls in registered(DATASETS).items()
    if issubclass(cls, ImageDataset)
    and {key for key, p in PARAMETERS[name].items() if p.default is p.empty} <= {'root', 'kwargs'}
}
RESIZED = [dict(type='torchvision/Resize', size=(20, 24))]
VIEWS = [*RESIZED, dict(type='StackViews', transforms=[dict(type='torchvision/RandomHorizontalFlip')], count=2)]


def told(batch):
    """Return shapes and types; of images in a list, which differ in size, and of their boxes only what is common."""
    found = {}
    for key, value in batch.items():
        lists = isinstance(value, list)
        found[key] = (
            [(one.dim(), one.shape[-1] if one.dim() == 2 else 0, one.dtype) for one in value]
            if lists
            else (
                value.shape,
                value.dtype,
            )
        )
    return found


def on_meta(value):
    return all(one.is_meta for one in value) if isinstance(value, list) else value.is_meta


def variants(name):
    """Yield variants of the arguments of a data set, without its root."""
    yield {}
    more = OWN[name].more_splits if issubclass(OWN[name], OfficialHalves) else ()
    yield from ({'split': split} for split in ('test', *more))
    if 'pipeline' in PARAMETERS[name]:
        yield {'pipeline': RESIZED}
        # Several views of an image with boxes are not made.
        yield from () if issubclass(OWN[name], BoxFiles) else ({'size': (30, 40)}, {'pipeline': VIEWS})


@pytest.mark.parametrize('name', OWN)
def test_the_example_is_the_batch_that_is_served(name, tmp_path):
    where = {'root': str(tmp_path)} if 'root' in PARAMETERS[name] else {}
    for given in variants(name):
        with imitation({'type': name, **given}, tmp_path):
            example = OWN[name].example(3, **where, **given)
            assert all(map(on_meta, example.values()))
            assert told(example) == told(OWN[name](**where, **given).__getitems__([0, 1, 2]))


@pytest.mark.parametrize('name', OWN)
def test_no_file_is_read(name, monkeypatch):
    given = list(variants(name))
    expected = [OWN[name].example(2, **one) for one in given]  # imports what it needs

    def refuse(*args, **kwargs):
        raise AssertionError('a file is read')

    for module, function in ((builtins, 'open'), (os, 'open'), (os, 'scandir')):
        monkeypatch.setattr(module, function, refuse)
    where = {'root': '/'} if 'root' in PARAMETERS[name] else {}
    assert [told(OWN[name].example(2, **where, **one)) for one in given] == list(map(told, expected))


def test_views_are_stacked():
    example = OWN['CUB200'].example(5, root='absent', pipeline=VIEWS)
    assert told(example) == {
        'inputs': ((5, 3, 3, 20, 24), torch.uint8),
        'labels': ((5,), torch.int64),
        'ids': ((5,), torch.int64),
    }


def test_none_where_only_the_files_would_tell():
    by_side = [dict(type='torchvision/Resize', size=20)]
    assert OWN['ImageNet'].example(2, root='absent', pipeline=by_side) is None


def test_a_class_of_ones_own_has_it_by_its_facts():
    facts = Facts('Own', ('a',), (0.5,) * 3, (0.5,) * 3, (7, 9))
    own = type('Own', (ImageDataset,), {'facts': classmethod(lambda cls, **kwargs: facts)})
    assert own.example(2)['inputs'].shape == (2, 3, 7, 9)


def test_a_wrong_size_is_told():
    with pytest.raises(InputError, match='ImageFolder: size'):
        OWN['ImageFolder'].example(2, root='absent', size=0)
