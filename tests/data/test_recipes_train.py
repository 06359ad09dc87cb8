"""Train one step of every recipe for the large and the fine-grained data sets, on small official layouts."""

import math

import pytest
import torch
from image_trees import write_aircraft, write_cub200, write_imagenet, write_stl10

from openmix.config import load_config
from openmix.data import stl10
from openmix.engine import launch
from openmix.engine.dry_run import dry_run
from openmix.shipped import configs_dir

WNIDS = ['n01440764', 'n01443537', 'n01484850']
SIDE = 64
# What a data set needs to be found, and what shrinks a run to the CPU: batch 4, images of 64 px, no workers.
TREES = {
    'imagenet': (lambda root: write_imagenet(root, WNIDS), {'classes': WNIDS}),
    'cub200': (write_cub200, {}),
    'fgvc_aircraft': (write_aircraft, {}),
    'stl10': (write_stl10, {}),
}
SMALLER = {'deit_small': {'model.backbone.img_size': SIDE}, 'swin_tiny': {'model.backbone.img_size': SIDE}}
RECIPES = [f'{data}/{path.stem}' for data in TREES for path in (configs_dir() / 'classification' / data).glob('*.py')]


def shrunk(name, root):
    data, _, recipe = name.partition('/')
    cfg = load_config(f'classification/{name}.py', SMALLER.get(recipe, {}))
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.update(batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False)
        loader.dataset.update(root=str(root), **TREES[data][1])
        for step in loader.dataset.get('pipeline', []):
            if step.type in ('torchvision/RandomResizedCrop', 'torchvision/CenterCrop', 'RandAugment'):
                step.size = SIDE
    if 'weights' in cfg.model.backbone:
        cfg.model.backbone.weights = None
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_takes_a_step(name, tmp_path, monkeypatch):
    monkeypatch.setattr(stl10, 'intact', lambda path, md5: True)
    TREES[name.partition('/')[0]][0](tmp_path)
    cost = dry_run(launch.prepare(shrunk(name, tmp_path)), 1)
    assert math.isfinite(cost['hours'])


@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['deit_small', 'resnet50_rsb_a3_table10'])
def test_weights_and_their_average_move(recipe, tmp_path):
    """A whole run of two epochs of one step, with repeated augmentation, erasing and what else the recipe has."""
    write_imagenet(tmp_path / 'imagenet', WNIDS, train=2)
    cfg = shrunk(f'imagenet/{recipe}', tmp_path / 'imagenet')
    cfg.train_dataloader.batch_size = 6
    cfg.train_cfg.max_epochs, cfg.work_dir = 2, str(tmp_path / 'run')
    # An epoch of warm-up and one of decay.
    cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = 1
    result = launch.train(launch.prepare(cfg))
    assert result.is_file()
    saved = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)
    assert len(saved['optimizer']['state']) > 100
    if recipe == 'deit_small':
        average = {key.removeprefix('module.'): value for key, value in saved['ema_state_dict'].items()}
        moved = [key for key, value in saved['state_dict'].items() if not torch.equal(value, average[key])]
        assert len(moved) > 100
