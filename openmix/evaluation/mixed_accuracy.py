"""Accuracy on mixed validation images (Decoupled Mixup, Figures 2 and 7)."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import Tensor, nn

from openmix.algorithm import algorithm_of
from openmix.errors import InputError
from openmix.evaluation.accuracy import one_row_an_id
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.models.classifier import MixClassifier
from openmix.registry import HOOKS


def mixed_hits(logits: Tensor, y: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    """Compute top-1 and top-2 hits of mixed samples, with the classes of their sources as truth (Figure 2, caption).

    Args:
        logits: (N, C) of the mixed samples.
        y: (M,) int64 labels of the clean batch.
        mix: how the batch was mixed; a source with a share of 0 does not count.

    Returns:
        Two (N,) float64 tensors. Top-1: 1 if the predicted class is the class of a source, else 0. Top-2: 1 if the
        two most probable classes are the two classes of the sources, else 0; nan unless the sources have two classes.
    """
    labels, present = y[mix.source], (mix.weight > 0).long()
    among = torch.zeros(logits.shape, dtype=torch.int64, device=logits.device).scatter_add_(1, labels, present) > 0
    hits = among.gather(1, logits.topk(min(2, logits.shape[1]), dim=1).indices)
    nan = torch.full((), float('nan'), dtype=torch.float64, device=logits.device)
    return hits[:, 0].double(), torch.where(among.sum(1) == 2, hits.all(1).double(), nan)


def mixing(model: nn.Module) -> MixClassifier:
    """Return the `MixClassifier` of a runner's model.

    Raises:
        InputError: the algorithm is another one, or predicts no classes.
    """
    algorithm = algorithm_of(model)
    if not isinstance(algorithm, MixClassifier) or 'logits' not in algorithm.answers:
        raise InputError(
            f'MixedAccuracyHook: {type(algorithm).__name__} trains no classifier on mixed images; leave it out'
        )
    return algorithm


@HOOKS.register_module()
class MixedAccuracyHook(Hook):
    """Add `mixed_accuracy/top1` and `mixed_accuracy/top2`, in percent, to the metrics of a validation or test.

    The policy of the run mixes the images. The trained network, or its moving average if an
    `EMAHook` validates that, classifies them in evaluation mode. Every validation uses the same random
    numbers and does not change the state of training's generators. A policy that does not mix adds no
    metric; without a mix of two classes there is no top2.
    """

    # Runs before the metrics are logged.
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def before_run(self, runner: Any) -> None:
        for policy in mixing(runner.model).policy.modules():
            if isinstance(policy, MixPolicy) and policy.remembers:
                raise InputError(
                    f'MixedAccuracyHook: {type(policy).__name__} mixes with batches of the training, whose classes '
                    'are not those of the images that are evaluated; leave it out'
                )

    def before_val_epoch(self, runner: Any) -> None:
        self.rows.clear()

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        model = mixing(runner.model)
        batch = model.data_preprocessor(data_batch, training=False)
        x, y = batch['inputs'], batch['labels']
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            torch.manual_seed(batch_idx)
            mixed = model.mixed(model.context(x, y))
            logits, mix = model.head(mixed.features), mixed.mix
        if mix.source.shape[1] > 1:
            self.rows.append(torch.stack([batch['ids'].double(), *mixed_hits(logits, y, mix)], 1).cpu())

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        rows = [row for rows in all_gather_object(self.rows) for row in rows]
        if metrics is not None and rows:
            _, *hits = one_row_an_id(torch.cat(rows)).unbind(1)
            for k, hit in enumerate(hits, 1):
                if not hit.isnan().all():
                    metrics[f'mixed_accuracy/top{k}'] = hit.nanmean().item() * 100

    before_test_epoch, after_test_iter, after_test_epoch = before_val_epoch, after_val_iter, after_val_epoch
