"""Top-k accuracy and cross-entropy, exact across processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.metrics import RIGHT, Right
from openmix.registry import METRICS


def rank_of_label(logits: Tensor, y: Tensor) -> Tensor:
    """Compute the (N,) int64 rank of the true class: the number of classes predicted before it (0: top-1 is right).

    Ties go to the lower class index, as in argmax; nan logits rank the true class last.

    Args:
        logits: (N, C).
        y: (N,) int64.
    """
    own = logits.gather(1, y[:, None])
    lower = torch.arange(logits.shape[1], device=logits.device) < y[:, None]
    return (~(logits <= own) | ((logits == own) & lower)).sum(1)


def first_of_ids(ids: Tensor) -> Tensor:
    """Return the row of the first of every id in (N,) ids, sorted by id.

    A distributed sampler repeats some samples to give all processes the same number.
    """
    ids, order = ids.sort(stable=True)
    first = torch.ones_like(ids, dtype=torch.bool)
    first[1:] = ids[1:] != ids[:-1]
    return order[first]


def one_row_an_id(rows: Tensor) -> Tensor:
    """Keep the first row of every id, see `first_of_ids`.

    Args:
        rows: (N, 1 + K), ids in column 0.
    """
    return rows[first_of_ids(rows[:, 0])]


def rows_of_all(rows: Sequence[Tensor]) -> Tensor:
    """Gather the rows of all processes and keep one an id, see `one_row_an_id`.

    Args:
        rows: of this process, tensors (N, 1 + K) with ids in column 0; a process may have none.
    """
    return one_row_an_id(torch.cat([part for parts in all_gather_object(list(rows)) for part in parts]))


def labels_and_ids(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the (N,) int64 labels and ids of a batch that is measured.

    Raises:
        InputError: it has none, or labels below 0, as images without labels have.
    """
    y, ids = batch.get('labels'), batch.get('ids')
    if y is None or ids is None or bool((y < 0).any()):
        raise InputError(
            'a batch that is measured must hold labels and ids: images without labels cannot be evaluated, and '
            "tools/predict.py predicts their classes; see docs/data.md, A data set of one's own"
        )
    return y, ids


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Measure top-k accuracy in percent (`accuracy/top1`, ...) and mean cross-entropy (`accuracy/nll`).

    Samples are identified by id, so those that a distributed sampler repeats count once. A k above
    the number of classes is clamped to it. For a model with several networks, the plain names are those of
    the network ''; the others are reported as `accuracy/<network>/top1`.

    Args:
        topk: the values of k to report.
        prefix: part of the metric's name before the slash.

    Raises:
        InputError: a k is not a positive integer.
    """

    default_prefix = 'accuracy'
    reads = frozenset({'logits'})

    def __init__(self, topk: int | Sequence[int] = (1,), prefix: str | None = None) -> None:
        if prefix is not None and not prefix.strip('/'):
            raise InputError(f"Accuracy: prefix must be a name, or None for 'accuracy', got {prefix!r}")
        super().__init__(collect_device='cpu', prefix=prefix)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        for k in self.topk:
            check_number('Accuracy: topk', k, 1)
        self.num_classes = 0
        self.networks = ['']

    @property
    def names(self) -> list[str]:
        """The names of the metrics of the network ''."""
        return [f'{self.prefix}/{name}' for name in (*(f'top{k}' for k in self.topk), 'nll')]

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Store (id, rank of the true class, cross-entropy) for every sample and network of the batch."""
        for batch in data_samples:
            y, ids = labels_and_ids(batch)
            networks = {'': batch['logits'], **{f'{name}/': z for name, z in batch.get('others', {}).items()}}
            rows = [ids]
            for logits in networks.values():
                logits = logits.float()
                self.num_classes = logits.shape[1]
                rows += [rank_of_label(logits, y), F.cross_entropy(logits, y, reduction='none')]
            self.networks = list(networks)
            self.results.append(torch.stack([row.double() for row in rows], 1).cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Compute metrics from rows of id and, for each network, rank and cross-entropy; rows of one id count once."""
        ids, *columns = one_row_an_id(torch.cat(results)).unbind(1)
        if 1 in self.topk:
            self._keep(ids, columns[0] < 1)
        found: dict[str, float] = {}
        for network, rank, nll in zip(self.networks, columns[::2], columns[1::2]):
            for k in self.topk:
                found[f'{network}top{k}'] = (rank < min(k, self.num_classes)).double().mean().item() * 100
            found[f'{network}nll'] = nll.mean().item()
        return found

    def _keep(self, ids: Tensor, right: Tensor) -> None:
        """Leave the images that the network '' classified rightly to the hook that writes the result."""
        digest = hashlib.sha256(ids.long().numpy().tobytes()).hexdigest()[:12]
        bits = np.packbits(right.numpy()).tobytes().hex()
        hub = MessageHub.get_current_instance()
        known = hub.runtime_info.get(RIGHT, {})
        hub.update_info(RIGHT, known | {f'{self.prefix}/top1': Right(len(ids), digest, bits)}, resumed=False)

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute metrics over the samples of all processes.

        mmengine's own gathering keeps the first `size` results. A result here is a batch, so that would drop
        samples instead of repeats.
        """
        results, classes, networks = zip(*all_gather_object((self.results, self.num_classes, self.networks)))
        # A process without a sample has seen no logits.
        self.num_classes, self.networks = max(classes), max(networks, key=len)
        gathered = [part for parts in results for part in parts]
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in self.compute_metrics(gathered).items()}
