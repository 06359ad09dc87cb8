"""Features of labelled images with which metrics classify those of a validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from torch import Tensor

from openmix.data.base import ImageDataset
from openmix.errors import InputError
from openmix.evaluation.accuracy import first_of_ids, labels_and_ids, one_row_an_id, rank_of_label
from openmix.ops.gather import gather_rows
from openmix.registry import DATASETS, HOOKS, DatasetConfig


class BankAccuracy(BaseMetric):
    """`<prefix>/top1`: percentage of images whose class a classifier on the features of a bank gets right.

    A `FeatureBankHook` among the recipe's hooks computes the bank. Derive from it and implement `scores`.

    Args:
        prefix: part of the metric's name before the slash.

    Raises:
        InputError: when images are measured: there is no bank, or no labels and ids.
    """

    reads = frozenset({'embedding'})

    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(collect_device='cpu', prefix=prefix)
        self.bank: tuple[Tensor, Tensor] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the metrics."""
        return [f'{self.prefix}/top1']

    def scores(self, features: Tensor, bank: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Compute the (N, C) scores of the classes of images.

        Args:
            features: (N, D) of the images, as the backbone computes them.
            bank: (B, D) of the bank.
            labels: (B,) int64.
            classes: C.
        """
        raise NotImplementedError

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Store (id, whether the class is right) for every sample of the batch."""
        if self.bank is None:
            raise InputError(
                f'{type(self).__name__} has no bank of features; add dict(type="FeatureBankHook") to custom_hooks, '
                'with a labelled dataset if the training images have no labels'
            )
        bank, labels = self.bank
        for batch in data_samples:
            y, ids = labels_and_ids(batch)
            classes = int(torch.maximum(labels.amax(), y.amax())) + 1
            right = rank_of_label(self.scores(batch['embedding'].float(), bank, labels, classes), y) == 0
            self.results.append(torch.stack([ids.double(), right.double()], 1).cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        _, right = one_row_an_id(torch.cat(results)).unbind(1)
        return {'top1': right.mean().item() * 100}

    def evaluate(self, size: int) -> dict[str, float]:
        gathered = [part for parts in all_gather_object(self.results) for part in parts]
        self.results.clear()
        self.bank = None  # of a network that is trained on
        return {f'{self.prefix}/{name}': value for name, value in self.compute_metrics(gathered).items()}


@HOOKS.register_module()
class FeatureBankHook(Hook):
    """Compute the features of labelled images before each validation or test, as the bank of every `BankAccuracy`.

    The network runs in evaluation mode without gradient; nothing of it changes.

    Args:
        dataset: registry dict of the images; None: the training images, without their random transforms.
        unaugmented: take the images of `dataset` without their random transforms too.

    Raises:
        InputError: before the run, if the run keeps a moving average, whose weights and the raw ones would need a bank
            each; in a validation, if no metric reads the bank, or the images have no labels.
    """

    # After the hooks that replace the weights or the statistics for a validation.
    priority = 'LOW'

    def __init__(self, dataset: DatasetConfig | None = None, unaugmented: bool = False) -> None:
        self.dataset, self.unaugmented = dataset, unaugmented or dataset is None
        self.loader: Any = None

    @classmethod
    def in_evaluation(cls, hook: dict[str, Any], training: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the registry dict of the hook for an evaluation, which has no training images of its own."""
        if hook.get('dataset') is not None or training is None:
            return hook
        return {**hook, 'dataset': dict(training['dataset']), 'unaugmented': True}

    def before_run(self, runner: Any) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise InputError(
                'FeatureBankHook computes the features of the raw weights, and EMAHook validates their moving average '
                'too; leave one of them out'
            )

    def before_val_epoch(self, runner: Any) -> None:
        self._fill(runner, runner.val_loop, runner.cfg.val_dataloader)

    def before_test_epoch(self, runner: Any) -> None:
        self._fill(runner, runner.test_loop, runner.cfg.test_dataloader)

    def _fill(self, runner: Any, loop: Any, loader: Mapping[str, Any]) -> None:
        readers = [metric for metric in loop.evaluator.metrics if isinstance(metric, BankAccuracy)]
        if not readers:
            raise InputError(
                'FeatureBankHook computes a bank for KNNAccuracy or LogisticAccuracy, and neither is among the '
                'metrics; add one to val_evaluator, or leave the hook out'
            )
        if self.loader is None:
            self.loader = self._loader(runner, loader)
        bank = feature_bank(runner.model, self.loader)
        for metric in readers:
            metric.bank = bank

    def _loader(self, runner: Any, like: Mapping[str, Any]) -> Any:
        """Build a loader of the bank's images with the settings of a validation loader."""
        built = DATASETS.build(dict(self.dataset or runner.cfg.train_dataloader.dataset))
        if self.unaugmented:
            if not isinstance(built, ImageDataset):
                raise InputError(
                    f'FeatureBankHook: {type(built).__name__} does not say what its images are without random '
                    'transforms; give the hook a dataset'
                )
            built = built.unaugmented()
        return runner.build_dataloader({**like, 'dataset': built, 'persistent_workers': False}, seed=runner.seed)


@torch.no_grad()
def feature_bank(model: Any, loader: Any) -> tuple[Tensor, Tensor]:
    """Compute features (B, D) and labels (B,) of the images of a loader, of all processes, each image once.

    Args:
        model: a model whose `val_step` answers a list of dicts with `embedding`, `labels` and `ids`.
        loader: the loader of the images.

    Raises:
        InputError: an image has no label, or there is no image.
    """
    mode = model.training
    model.eval()
    try:
        answers = [answer for batch in loader for answer in model.val_step(batch)]
    finally:
        model.train(mode)
    if not answers or any(answer.get('labels') is None or answer.get('ids') is None for answer in answers):
        raise InputError(
            'FeatureBankHook: the images of the bank have no labels and ids; give it a labelled dataset, such as '
            "dataset=dict(type='STL10', root=..., split='train')"
        )
    features = gather_rows(torch.cat([answer['embedding'].float() for answer in answers]))
    labels = gather_rows(torch.cat([answer['labels'] for answer in answers]))
    rows = first_of_ids(gather_rows(torch.cat([answer['ids'] for answer in answers])))
    return features[rows], labels[rows]
