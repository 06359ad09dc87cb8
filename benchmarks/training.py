"""Train a recipe on random images in a temporary folder, observed by a hook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from openmix.config import load_config
from openmix.data.base import ArrayDataset
from openmix.data.facts import Facts
from openmix.engine.launch import prepare
from openmix.engine.runner import Runner
from openmix.registry import DATASETS

RECIPE = 'classification/cifar10/resnet18.py'
FACTS = Facts('Noise', tuple('0123456789'), (0.5,) * 3, (0.25,) * 3, (32, 32))


@DATASETS.register_module()
class NoiseImages(ArrayDataset):
    """Random images of CIFAR's shape with random labels, in memory."""

    def __init__(self, length: int) -> None:
        images = torch.randint(256, (length, 3, *FACTS.size), dtype=torch.uint8)
        super().__init__(FACTS, images, torch.randint(10, (length,)), 'train')

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return FACTS


def on_noise(images: int, batch: int, epochs: int) -> Config:
    """Load a real recipe with its network, hooks and schedule, but with random images and without validation."""
    cfg = load_config(RECIPE)
    cfg.train_dataloader.dataset = dict(type='NoiseImages', length=images)
    cfg.train_dataloader.batch_size = batch
    cfg.train_dataloader.pin_memory = torch.cuda.is_available()
    cfg.train_cfg.max_epochs = epochs
    for part in ('val', 'test'):
        cfg[f'{part}_cfg'] = cfg[f'{part}_dataloader'] = cfg[f'{part}_evaluator'] = None
    return cfg


def run_quietly(cfg: Config, hook: Hook) -> None:
    """Train a recipe in a temporary folder, without printing its log."""
    with _silence(), TemporaryDirectory() as folder:
        cfg.work_dir = cfg.experiment_name = folder
        runner = Runner.from_cfg(prepare(cfg))
        runner.register_hook(hook)
        runner.train()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress stdout and stderr inside the block."""
    with (
        Path(os.devnull).open('w') as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
