import inspect

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from openmix.models.preprocessor import ImagePreprocessor
from openmix.registry import DATASETS
from openmix.shipped import configs_dir

FOLDER = configs_dir() / '_base_' / 'datasets'
# (config, number of classes, size), as the data sets' publishers state them
KNOWN = [('digits', 10, 16), ('cifar10', 10, 32), ('cifar100', 100, 32), ('tiny_imagenet', 200, 64)]
KNOWN += [
    ('fashion_mnist', 10, 28),
    ('stl10', 10, 96),
    ('cub200', 200, 224),
    ('fgvc_aircraft', 100, 224),
    ('stanford_cars', 196, 224),
]
KNOWN += [(name, 1000, 224) for name in ('imagenet', 'imagenet_deit', 'imagenet_rsb_a3')]


def load(name):
    return Config.fromfile(str(FOLDER / f'{name}.py'))


def preprocessor(cfg, facts):
    kwargs = dict(cfg.model.data_preprocessor)
    assert kwargs.pop('type') == 'ImagePreprocessor'
    return ImagePreprocessor(mean=facts.mean, std=facts.std, **kwargs)


@pytest.mark.parametrize('name', [*(name for name, *_ in KNOWN), 'image_folder'])
def test_loaders_are_complete(name):
    cfg = load(name)
    for loader, split, shuffle in (('train', ['train'], True), ('val', ['test', 'val'], False)):
        settings = cfg[f'{loader}_dataloader']
        cls = DATASETS.get(settings.dataset.type)
        inspect.signature(cls).bind(**{k: v for k, v in settings.dataset.items() if k != 'type'})
        assert settings.dataset.split in split
        assert settings.sampler.get('shuffle', True) is shuffle
        assert settings.get('persistent_workers', False) == (settings.num_workers > 0)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator == dict(type='Accuracy', topk=(1, 5))


@pytest.mark.parametrize(('name', 'classes', 'size'), KNOWN)
def test_facts_and_preprocessor_fit(name, classes, size):
    cfg = load(name)
    dataset = dict(cfg.train_dataloader.dataset)
    facts = DATASETS.get(dataset.pop('type')).facts(**dataset)
    assert len(facts.classes) == classes
    assert facts.size == (size, size)
    batch = {'inputs': torch.randint(0, 256, (4, 3, *facts.size), dtype=torch.uint8)}
    assert preprocessor(cfg, facts)(batch, training=True)['inputs'].shape == (4, 3, size, size)


def test_the_runner_builds_the_loader_by_name():
    cfg = load('digits')
    loader = Runner.build_dataloader({**cfg.train_dataloader, 'dataset': DATASETS.build(cfg.train_dataloader.dataset)})
    batches = list(loader)
    assert len(batches) == 23
    out = preprocessor(cfg, DATASETS.get('Digits').facts())(batches[0], training=True)
    assert out['inputs'].shape == (64, 3, 16, 16)
    assert torch.equal(torch.cat([b['ids'] for b in batches]).sort().values, torch.arange(1442))


def test_the_folder_template_runs_on_a_folder(folder_tree):
    cfg = load('image_folder')
    for settings, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'test')):
        data = DATASETS.build({**settings.dataset, 'root': str(folder_tree), 'split': split})
        assert data.__getitems__([0, 3])['inputs'].shape == (2, 3, 224, 224)
