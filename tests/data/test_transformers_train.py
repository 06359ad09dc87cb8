"""Both small transformers learn with the whole training recipe of DeiT."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import DropPath

from openmix.benchmark.table import load_table
from openmix.engine import launch
from openmix.models.preprocessor import ImagePreprocessor
from openmix.registry import MODELS

STEPS, WARM_UP = 24, 4
COLOURS = {'n01': (220, 40, 40), 'n02': (40, 200, 40), 'n03': (40, 40, 220)}
SMALLER = {
    'DeiT': {'depth': 2, 'embed_dim': 48, 'patch_size': 16},
    'Swin': {'depths': (1, 1, 1), 'embed_dim': 16, 'num_heads': (1, 2, 4)},
}


@pytest.fixture
def coloured_tree(tiny_tree):
    """The tree with a colour of its own for every class, under noise."""
    rng = np.random.default_rng(0)
    files = {path: path.parent.parent.name for path in (tiny_tree / 'train').rglob('*.JPEG')}
    for line in (tiny_tree / 'val' / 'val_annotations.txt').read_text().splitlines():
        name, wnid = line.split('\t')[:2]
        files[tiny_tree / 'val' / 'images' / name] = wnid
    for path, wnid in files.items():
        pixels = np.array(COLOURS[wnid]) + rng.integers(-30, 30, (64, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return tiny_tree


def resolve(family, root, work_dir):
    cfg = load_table('tiny_imagenet50_transformers').cell('CutMix', f'{family} / DM(CE)').resolve()
    cfg.model.backbone.update(SMALLER[family])
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.root = str(root)
    cfg.train_dataloader.batch_size = 12
    cfg.train_cfg.update(max_epochs=STEPS, val_interval=STEPS)  # a step an epoch
    cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = WARM_UP
    cfg.default_hooks.checkpoint.interval = STEPS
    cfg.work_dir = str(work_dir)
    return cfg


@pytest.fixture
def seen(monkeypatch):
    """Ids of every training batch, and the norm of the whole gradient that every step of AdamW takes."""
    found = {'ids': [], 'norms': []}
    forward, step = ImagePreprocessor.forward, torch.optim.AdamW.step

    def spy_forward(self, data, training=False):
        if training and not data['ids'].is_meta:  # a recipe's trial has no images
            found['ids'].append(data['ids'])
        return forward(self, data, training)

    def spy_step(self, *args, **kwargs):
        grads = [p.grad.norm() for group in self.param_groups for p in group['params'] if p.grad is not None]
        if len(grads) > 20:  # a trial steps a handful of weights
            found['norms'].append(torch.stack(grads).norm().item())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ImagePreprocessor, 'forward', spy_forward)
    monkeypatch.setattr(torch.optim.AdamW, 'step', spy_step)
    return found


@pytest.mark.slow
@pytest.mark.parametrize('family', SMALLER)
def test_learns_with_every_part(family, coloured_tree, tmp_path, seen):
    result = json.loads(launch.train(launch.prepare(resolve(family, coloured_tree, tmp_path))).read_text())
    history = result['history']
    losses = [row['loss'] for row in history]
    assert len(losses) == len(seen['ids']) == len(seen['norms']) == STEPS
    assert np.mean(losses[-6:]) < 0.75 * np.mean(losses[:6])
    assert result['metrics']['accuracy/top1'] > 60  # chance is a third

    # Repeated augmentation: four of the twelve images, three times each, and others in other epochs.
    assert all(sorted(torch.bincount(ids).tolist())[-4:] == [3] * 4 for ids in seen['ids'])
    assert len(torch.cat(seen['ids']).unique()) == 12
    # The gradient is longer than that at first.
    assert max(seen['norms']) == pytest.approx(1.0, abs=1e-4)
    # A warm-up and a cosine.
    rates = [row['lr'] for row in history]
    assert rates[:WARM_UP] == pytest.approx([1e-6, 0.334e-3, 0.667e-3, 1e-3], abs=1e-6)
    assert rates[WARM_UP:] == sorted(rates[WARM_UP:], reverse=True)
    assert 1e-5 <= rates[-1] < 2e-5

    # Validation reads the average, which lags behind the weights, and those beside it.
    last = tmp_path / f'epoch_{STEPS}.pth'
    raw, average = (
        launch.evaluate(launch.prepare(resolve(family, coloured_tree, tmp_path)), str(last), ema)['accuracy/nll']
        for ema in (False, True)
    )
    assert average == pytest.approx(result['metrics']['accuracy/nll'], abs=1e-5)
    assert raw == pytest.approx(result['metrics']['accuracy/raw/nll'], abs=1e-5)
    assert abs(raw - average) > 1e-3


@pytest.mark.parametrize('family', SMALLER)
def test_paths_are_dropped_ever_more_often(family):
    cfg = launch.fill_from_data(resolve(family, 'nowhere', 'nowhere'))
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model).backbone
    rates = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.1)
