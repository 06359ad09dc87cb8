"""Smoke-test a data set, a backbone and a policy that are written in one file of the user."""

import inspect
import sys
from pathlib import Path

import pytest
from registered import registered

from openmix.benchmark.smoke import Smoke, shrink
from openmix.benchmark.table import load_table
from openmix.config import load_config
from openmix.data.imitation import imitation
from openmix.engine import launch
from openmix.overrides import apply_overrides
from openmix.parts import parts
from openmix.registry import DATASETS, MIXUPS, MODELS
from openmix.signatures import arguments
from openmix.small import SIDE, Small, small_of

OWN = """
from pathlib import Path
from typing import Annotated

import torch
from torch import nn

from openmix.data.base import ImageDataset
from openmix.data.facts import Facts
from openmix.data.imitation import pixels, write
from openmix.mixups.mixup import Mixup
from openmix.registry import DATASETS, MIXUPS, MODELS, Built


@DATASETS.register_module()
class OwnRaw(ImageDataset):
    small = {'subset': 12}

    def __init__(self, root, split='train', subset=None):
        raw = (Path(root) / f'{split}.bin').read_bytes()
        self.array = torch.tensor(list(raw), dtype=torch.uint8).view(-1, 3, 16, 16)[:subset]
        super().__init__(self.facts(), torch.arange(len(self.array)) % 2)

    @classmethod
    def facts(cls, **kwargs):
        return Facts('OwnRaw', ('a', 'b'), (0.5,) * 3, (0.5,) * 3, (16, 16))

    def images(self, indices):
        return self.array[indices % len(self)], torch.arange(len(indices))

    {imitate}


@DATASETS.register_module()
class OwnPair(ImageDataset):
    '''Two data sets, one behind the other.'''

    def __init__(self, first: Annotated[dict, Built(DATASETS)], second: Annotated[dict, Built(DATASETS)]):
        self.both = [DATASETS.build(first), DATASETS.build(second)]
        super().__init__(self.both[0].known, torch.cat([part.labels for part in self.both]))

    @classmethod
    def facts(cls, first, **kwargs):
        return OwnRaw.facts()

    def images(self, indices):
        every = torch.cat([part.array for part in self.both])
        return every[indices % len(self)], torch.arange(len(indices))


@MODELS.register_module()
class OwnNet(nn.Module):
    small = {'width': 4}

    def __init__(self, width=64):
        super().__init__()
        assert width == 4, 'for a smoke run it says how small it can be'
        self.conv, self.num_features = nn.Conv2d(3, width, 3), width

    def forward(self, x):
        return self.conv(x).mean((2, 3))


@MIXUPS.register_module()
class OwnMix(Mixup):
    small = {'steps': 1}

    def __init__(self, steps=1000, alpha=1.0):
        assert steps == 1
        super().__init__(alpha=alpha)
"""
IMITATE = """@classmethod
    def imitate(cls, root, split='train', **kwargs):
        write(root / f'{split}.bin', pixels(0, 40, 3, 16, 16).tobytes())
"""
RECIPE = """
_base_ = 'configs/classification/digits/resnet20.py'
custom_imports = dict(imports=['{module}'])
one = dict(type='OwnRaw', root='absent', split='train')
train_dataloader = dict(dataset=dict(_delete_=True, **{train}))
val_dataloader = dict(dataset=dict(_delete_=True, type='OwnRaw', root='absent', split='test'))
test_dataloader = val_dataloader
model = dict(backbone=dict(_delete_=True, type='OwnNet'), policy=dict(_delete_=True, type='OwnMix'))
"""
ALONE = 'one'
NESTED = "dict(type='OwnPair', first=one, second=dict(type='OwnRaw', root='elsewhere', split='more'))"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write the parts and a table of one cell; return the outcome of its smoke run and the recipe that it ran."""
    monkeypatch.syspath_prepend(tmp_path)
    ran = []

    def run(name, train=ALONE, imitate=IMITATE):
        (tmp_path / f'{name}.py').write_text(OWN.replace('{imitate}', imitate))
        (tmp_path / 'recipe.py').write_text(RECIPE.format(module=name, train=train))
        lines = ['title: own', 'metric: accuracy/top1', 'readout: last', 'columns: {A: {}}', 'rows: {B: {}}']
        (tmp_path / 'own.yaml').write_text('\n'.join([*lines, f'base: {tmp_path}/recipe.py']))

        def training(cfg, weights):
            ran.append(cfg)
            return launch.train(launch.prepare(cfg))

        with Smoke(training, imitation) as smoke:
            (outcome,) = smoke.all(load_table(tmp_path / 'own.yaml').cells)
        return outcome.error, ran[-1] if ran else None

    yield run
    for registry in (DATASETS, MODELS, MIXUPS):
        for key in [key for key in registry.module_dict if str(key).startswith('Own')]:
            del registry.module_dict[key]
    for key in [key for key in sys.modules if key.startswith('own_')]:
        del sys.modules[key]


def test_parts_of_one_file_run(own):
    error, cfg = own('own_alone')
    assert error == ''
    assert cfg.train_dataloader.dataset.subset == 12
    # A root of the recipe stays one root.
    assert cfg.train_dataloader.dataset.root == cfg.val_dataloader.dataset.root != 'absent'


def test_data_sets_inside_of_one_have_stand_ins_of_their_own(own):
    error, cfg = own('own_nested', NESTED)
    assert error == ''
    dataset = cfg.train_dataloader.dataset
    assert 'subset' not in dataset
    assert 'root' not in dataset
    assert dataset.first.subset == dataset.second.subset == 12
    assert len({dataset.first.root, dataset.second.root, 'absent', 'elsewhere'}) == 4


@pytest.mark.parametrize('train', [ALONE, NESTED])
def test_one_without_a_stand_in_is_refused_in_a_line(own, train):
    error, _ = own('own_absent', train, imitate='')
    assert error.startswith("no stand-in for the data set 'OwnRaw': give it a class method imitate(root, **kwargs)")
    assert len(error.splitlines()) == 1


def test_what_a_class_says_of_itself_it_takes():
    found = {name: cls for of in (MODELS, MIXUPS, DATASETS) for name, cls in registered(of).items()}
    said = {name: cls for name, cls in found.items() if isinstance(cls, Small)}
    assert len(said) >= 12
    for name, cls in said.items():
        known = arguments(cls)
        given = small_of(cls, {'name': 'resnet18'})
        assert known is None or given.keys() <= known.keys(), name


def test_networks_of_a_fixed_size_take_that_of_a_smoke_run():
    timm = MODELS.get('TimmBackbone')
    deit = 'deit_tiny_patch16_224'
    narrow = {'embed_dim': 48, 'num_heads': 6}
    without = {'pretrained': False, 'checkpoint': None, 'weights': None}
    assert small_of(timm, {'name': deit}) == {**without, 'img_size': SIDE, **narrow}
    assert small_of(timm, {'name': deit, 'img_size': 32})['img_size'] == 32
    assert 'img_size' not in small_of(timm, {'name': 'resnet18'})


def test_a_teacher_is_not_downloaded():
    cfg = load_config('classification/imagenet/resnet18_100ep.py')
    cfg.model.policy = dict(type='SuperMix', teacher=dict(name='torchvision/resnet34'))
    found = shrink(cfg, lambda dataset: Path('/data'))
    assert found['model.policy.teacher.pretrained'] is False
    assert found['model.policy.iterations'] == 2
    cfg.model.policy.teacher = dict(backbone=dict(type='ThinResNet'), head=dict(type='LinearHead'), checkpoint='FILE')
    assert 'model.policy.teacher.pretrained' not in shrink(cfg, lambda dataset: Path('/data'))


def test_pools_have_a_stand_in_each(tmp_path):
    cfg = load_config('classification/cifar10/resnet18.py')
    labelled = dict(type='CIFAR10', root='data/cifar10', subset=250)
    cfg.train_dataloader.dataset = dict(type='Pools', labelled=labelled, ratio=7, keep_labelled=False)
    with Smoke(lambda cfg, weights: Path(), imitation) as smoke:
        small = apply_overrides(cfg, shrink(cfg, smoke._root_of)).train_dataloader.dataset.to_dict()
        assert small['ratio'] == 1
        batch = DATASETS.build(small).__getitems__([0, 16, 1, 17])
    assert {name: len(pool['ids']) for name, pool in batch.items()} == {'labelled': 2, 'unlabelled': 2}


def test_sizes_inside_of_transforms_and_in_the_preprocessor_shrink_too():
    views = dict(type='StackViews', transforms=[dict(type='torchvision/RandomResizedCrop', size=[96, 48])])
    cfg = load_config('classification/imagenet/resnet18_100ep.py')
    cfg.train_dataloader.dataset.pipeline = [dict(type='torchvision/Resize', size=256), views]
    cfg.model.data_preprocessor.augment = [dict(type='BatchRandomResizedCrop', size=224)]
    found = shrink(cfg, lambda dataset: Path('/data'))
    assert found['train_dataloader.dataset.pipeline.0.size'] == SIDE
    assert found['train_dataloader.dataset.pipeline.1.transforms.0.size'] == [SIDE, 48]
    assert found['model.data_preprocessor.augment.0.size'] == SIDE


def test_parts_of_a_recipe_are_all_found():
    cfg = load_config('classification/imagenet/deit_small.py')
    places = [part.place for part in parts(cfg.to_dict())]
    assert len(places) == len(set(places))
    assert {'model', 'model.policy', 'model.policy.policies.0', 'model.head.loss', 'optim_wrapper.optimizer'} < {
        *places
    }
    assert {'default_hooks.checkpoint', 'custom_hooks.0', 'train_dataloader.sampler', 'val_evaluator'} < {*places}


def test_no_class_is_named():
    source = inspect.getsource(sys.modules[Smoke.__module__])
    named = {name for of in (MODELS, MIXUPS, DATASETS) for name in registered(of) if len(name) > 4}
    assert not {name for name in named if name in source}
