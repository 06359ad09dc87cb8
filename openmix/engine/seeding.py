"""Seed every training step, so that its random numbers are a function of (seed, iteration, rank)."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from openmix.registry import HOOKS


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """Compute a 63-bit seed by hashing, so that neighbouring arguments give unrelated seeds."""
    digest = hashlib.blake2b(f'{seed},{iteration},{rank}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little') >> 1


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seed torch's generators before every training iteration.

    A resumed run therefore needs no saved generator state, and ranks draw different lam and pairs.

    Args:
        shared: use the same seed on every rank, so that all draw the same lam and pairs.
    """

    priority = 'VERY_HIGH'

    def __init__(self, shared: bool = False) -> None:
        self.shared = shared

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        seed = step_seed(runner.seed, runner.iter, 0 if self.shared else get_rank())
        torch.default_generator.manual_seed(seed)
        # Before CUDA is initialised, torch would queue one more seed in every iteration.
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(seed)
