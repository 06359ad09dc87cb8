"""Test `run --smoke`: cells on generated data, made small by overrides only."""

from pathlib import Path

import pytest
import torch

from openmix.benchmark.smoke import Smoke, shrink
from openmix.benchmark.table import load_table
from openmix.config import load_config
from openmix.data.imitation import imitation
from openmix.engine import launch
from openmix.overrides import apply_overrides
from openmix.registry import MODELS
from openmix.small import BATCH, SIDE, small_of


def train(cfg, weights=None):
    return launch.train(launch.prepare(cfg))


def test_only_sizes_and_lengths_change():
    cfg = load_config('classification/imagenet/deit_small.py')
    small = apply_overrides(cfg, shrink(cfg, lambda dataset: Path('/data')), 'shrinking')
    assert small.model.policy == cfg.model.policy
    assert small.model.head == cfg.model.head
    changed = {'img_size': SIDE, 'pretrained': False, 'checkpoint': None, 'weights': None}
    changed |= {'embed_dim': 48, 'num_heads': 6}
    assert small.model.backbone == {**cfg.model.backbone, **changed}
    assert small.optim_wrapper == cfg.optim_wrapper
    assert [hook.type for hook in small.custom_hooks] == [hook.type for hook in cfg.custom_hooks]
    assert [step.type for step in small.train_dataloader.dataset.pipeline] == [
        step.type for step in cfg.train_dataloader.dataset.pipeline
    ]
    assert small.train_dataloader.batch_size == BATCH
    assert small.train_cfg.max_epochs == 2
    assert [(scheduler.begin, scheduler.get('end')) for scheduler in small.param_scheduler] == [(0, 1), (1, None)]


def test_weights_from_elsewhere_are_left_out():
    cfg = load_config('classification/cub200/resnet18.py')
    assert shrink(cfg, lambda dataset: Path('/data'))['model.backbone.weights'] is None


def test_cells_run_and_faults_are_lines():
    """The quickstart table, and two ways to go wrong; nothing is left behind."""
    table = load_table('quickstart')
    cells = table.select('Mixup')

    def broken(cfg, weights):
        if cfg.model.head.loss.type == 'decoupled_ce':
            raise RuntimeError('two\nlines')
        return train(cfg)

    with Smoke(broken, imitation) as smoke:
        folder = smoke.folder
        first, second = smoke.all(cells)
    assert (first.error, second.error) == ('', 'RuntimeError: two')
    assert not folder.exists()


def test_a_metric_that_nothing_measures_is_a_fault(bench):
    recipe = Path(bench.root / 'recipe.py')
    digits = load_config('classification/digits/resnet20.py')
    recipe.write_text(digits.pretty_text)
    bench.edit('metric: accuracy/top1', 'metric: accuracy/top2')
    with Smoke(train, imitation) as smoke:
        (outcome,) = smoke.all(bench.table.select('CutMix', 'MCE'))
    assert "no metric 'accuracy/top2'" in outcome.error


def test_a_recipe_that_inherits_no_hooks_and_no_scope_runs_too(tmp_path):
    (tmp_path / 'bare.py').write_text(
        "_base_ = ['configs/_base_/datasets/digits.py', 'configs/_base_/schedules/sgd_cosine.py']\n"
        "backbone, head = dict(type='ThinResNet', depth=8, width=4), dict(type='LinearHead')\n"
        "parts = dict(policy=dict(type='NoMix'), data_preprocessor=dict(type='ImagePreprocessor'))\n"
        "model = dict(type='MixClassifier', backbone=backbone, head=head, **parts)\n"
        'custom_hooks = None\n'
    )
    lines = ['title: bare', 'metric: accuracy/top1', 'readout: last', 'columns: {A: {}}', 'rows: {B: {}}']
    (tmp_path / 'bare.yaml').write_text('\n'.join([*lines, f'base: {tmp_path}/bare.py']))
    with Smoke(train, imitation) as smoke:
        (outcome,) = smoke.all(load_table(tmp_path / 'bare.yaml').cells)
    assert outcome.error == ''


HELD_OUT = """
title: held out
metric: accuracy/top1
readout: last
base: classification/cub200/resnet18.py
columns: {A: {}}
rows:
  Held out:
    train_dataloader.dataset.val_fraction: 0.1
    val_dataloader.dataset.val_fraction: 0.1
    val_dataloader.dataset.split: val
  Shared:
    train_dataloader.dataset.val_fraction: 0.05
    val_dataloader.dataset.val_fraction: 0.1
    val_dataloader.dataset.split: val
"""


def test_a_cell_on_held_out_images_has_some_in_small_too(tmp_path):
    """A stand-in has two images of a class, and a tenth of two is none; splits that share images still do."""
    (tmp_path / 'mine.yaml').write_text(HELD_OUT)
    with Smoke(train, imitation) as smoke:
        held_out, shared = smoke.all(load_table(tmp_path / 'mine.yaml').cells)
    assert held_out.error == ''
    assert 'its images are trained on' in shared.error


@pytest.mark.slow
def test_the_command(tmp_path, benchmark_py):
    words = ['run', 'quickstart', '--rows', 'CutMix', '--columns', 'MCE', '--smoke', '--work-dir', tmp_path / 'work']
    done = benchmark_py(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'CutMix / MCE: ok' in done.stdout
    assert '1 of 1 cells run' in done.stdout
    assert not list(tmp_path.iterdir())


TIMM = [
    'resnet50',
    'resnext50_32x4d',
    'senet154',
    'swin_tiny_patch4_window7_224',
    'vit_tiny_patch16_224',
    'deit_small_patch16_224',
]


@pytest.mark.parametrize(
    'wide',
    [
        *(dict(type='TimmBackbone', name=name) for name in TIMM),
        *(dict(type='TorchvisionBackbone', name=name) for name in ('resnet101', 'resnext50_32x4d', 'wide_resnet50_2')),
        dict(type='CIFARResNet', depth=50),
    ],
    ids=lambda wide: ' '.join(map(str, wide.values())),
)
def test_networks_are_narrow_in_small_and_keep_their_sites(wide):
    with torch.device('meta'):
        large, narrow = MODELS.build(wide), MODELS.build({**wide, **small_of(MODELS.get(wide['type']), wide)})
    # A first block needs a projection beside it where its widths differ.
    places = [[place for place, _ in model.named_modules() if 'downsample' not in place] for model in (narrow, large)]
    assert places[0] == places[1]
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (narrow, large)]
    assert 3 * sizes[0] < sizes[1]
    assert narrow(torch.empty(2, 3, SIDE, SIDE, device='meta')).shape == (2, narrow.num_features)


def test_crops_become_smaller_than_the_small_images():
    """`ten_crop` of a model is a size too, and stays out where a recipe has none."""
    cfg = load_config('transfer/cub200/self_tuning_resnet18.py')
    small = shrink(cfg, lambda dataset: Path('/data'))
    (resized,) = [value for key, value in small.items() if key.startswith('val_dataloader') and key.endswith('.size')]
    assert small['model.ten_crop'] < min(resized)
    assert 'model.ten_crop' not in shrink(load_config('transfer/digits/self_tuning.py'), lambda dataset: Path('/data'))
