"""Accuracy of a weighted k-nearest-neighbour classifier on the features of a backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from torch import Tensor

from openmix.data.base import ImageDataset
from openmix.errors import InputError, check_number
from openmix.evaluation.accuracy import one_row_an_id, rank_of_label
from openmix.ops.gather import gather_rows
from openmix.ops.precision import full_precision
from openmix.registry import DATASETS, HOOKS, METRICS, DatasetConfig


def knn_votes(features: Tensor, bank: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    """Compute the (N, C) votes of the k nearest images of a bank, each with weight exp(cosine / temperature).

    As for InstDisc (Wu et al., CVPR 2018). Weights are relative to that of the nearest, which changes no order.

    Args:
        features: (N, D) unit vectors.
        bank: (B, D) unit vectors, with k <= B.
        labels: (B,) int64 labels of the bank.
        classes: C.
        k: number of neighbours.
        temperature: > 0.
    """
    with full_precision(features):
        cosine, nearest = (features @ bank.T).topk(k, 1)
    weight = ((cosine - cosine[:, :1]) / temperature).exp()
    return weight.new_zeros(len(features), classes).scatter_add_(1, labels[nearest], weight)


@METRICS.register_module()
class KNNAccuracy(BaseMetric):
    """`knn/top1`: percentage of images that their nearest images in a bank classify right, see `knn_votes`.

    A `FeatureBankHook` among the recipe's hooks computes the bank.

    Args:
        k: number of neighbours; all images of a smaller bank.
        temperature: > 0.
        prefix: part of the metric's name before the slash.

    Raises:
        InputError: a number is out of range; when images are measured: there is no bank, or no labels and ids.
    """

    default_prefix = 'knn'
    reads = frozenset({'embedding'})

    def __init__(self, k: int = 200, temperature: float = 0.1, prefix: str | None = None) -> None:
        super().__init__(collect_device='cpu', prefix=prefix)
        check_number('KNNAccuracy: k', k, 1)
        check_number('KNNAccuracy: temperature', temperature, 0.0, above=True)
        self.k, self.temperature = k, temperature
        self.bank: tuple[Tensor, Tensor] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the metrics."""
        return [f'{self.prefix}/top1']

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Store (id, whether the class is right) for every sample of the batch."""
        if self.bank is None:
            raise InputError(
                'KNNAccuracy has no bank to search; add dict(type="FeatureBankHook") to custom_hooks, with a labelled '
                'dataset if the training images have no labels'
            )
        bank, labels = self.bank
        for batch in data_samples:
            y, ids = batch['labels'], batch['ids']
            if y is None or ids is None:
                raise InputError(
                    "a batch that is measured must hold labels and ids; see docs/data.md, A data set of one's own"
                )
            classes = int(torch.maximum(labels.amax(), y.amax())) + 1
            features = F.normalize(batch['embedding'].float(), dim=1)
            votes = knn_votes(features, bank, labels, classes, min(self.k, len(bank)), self.temperature)
            right = rank_of_label(votes, y) == 0
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
    """Compute the features of labelled images before each validation or test, as the bank of every `KNNAccuracy`.

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
        readers = [metric for metric in loop.evaluator.metrics if isinstance(metric, KNNAccuracy)]
        if not readers:
            raise InputError(
                'FeatureBankHook computes a bank for KNNAccuracy, which is not among the metrics; add it to '
                'val_evaluator, or leave the hook out'
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
    """Compute unit features (B, D) and labels (B,) of the images of a loader, of all processes, each image once.

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
    features = gather_rows(F.normalize(torch.cat([answer['embedding'].float() for answer in answers]), dim=1))
    labels = gather_rows(torch.cat([answer['labels'] for answer in answers]))
    ids = gather_rows(torch.cat([answer['ids'] for answer in answers]))
    # A sampler repeats images to give all processes the same number.
    ids, order = ids.sort(stable=True)
    first = torch.ones_like(ids, dtype=torch.bool)
    first[1:] = ids[1:] != ids[:-1]
    return features[order[first]], labels[order[first]]
