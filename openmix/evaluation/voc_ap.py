"""Average precision by the rules of Pascal VOC 2007, over IoU thresholds: the protocol of detection transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from openmix.errors import InputError
from openmix.registry import METRICS

# IoU thresholds in percent; the first is that of AP50.
THRESHOLDS = tuple(range(50, 100, 5))
# Above some of the decimals in floating point: 0.3 is 0.30000000000000004, which a recall of 3 / 10 does not reach.
RECALLS = np.arange(0, 1.1, 0.1)


class Found(NamedTuple):
    """The detections and the objects of one image, as NumPy arrays.

    Attributes:
        boxes: (K, 4) float, left, top, right, bottom of the detections in pixels from 0.
        scores: (K,) float.
        labels: (K,) int, classes of the detections.
        true_boxes, true_labels: (M, 4) and (M,), the objects.
        difficult: (M,) bool, objects that do not count.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    true_boxes: np.ndarray
    true_labels: np.ndarray
    difficult: np.ndarray


def eleven_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """Average the largest precision at a recall of at least 0, 0.1, ..., 1 (Everingham et al., IJCV 2010, section 4.2).

    Args:
        recall: (K,) after each detection in the order of their scores.
        precision: (K,) likewise.
    """
    if not len(recall):
        return 0.0
    # Recall does not decrease, so the largest precision from a detection on is that at its recall or more.
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, RECALLS)].sum() / len(RECALLS))


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the IoU (K, M) of boxes (K, 4) and (M, 4) whose right and bottom pixels belong to them."""
    corner = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    shared = np.maximum(corner + 1, 0).prod(2)
    areas = [(one[:, 2:] - one[:, :2] + 1).prod(1) for one in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def average_precisions(images: Sequence[Found], classes: int) -> np.ndarray:
    """Compute the AP in percent of every class at every threshold, (C, 10).

    A detection is correct if its largest IoU with an object of its class is above the threshold, and no detection of
    a higher score was correct by that object; it does not count if the object is difficult. A class without objects
    has an AP of 0. Scores are rounded to 3 decimals and coordinates to 1, as in the files of the official evaluation.

    Args:
        images: all images, in an order that does not depend on the number of processes.
        classes: number of classes C.

    *Differs from the protocol*: its sort is not stable, so the order of detections of equal rounded scores is not
    defined. Here they are in the order of the images, then of the answer.
    """
    columns: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(classes)]
    objects = np.zeros(classes, int)
    for number, image in enumerate(images):
        counted = image.true_labels[~image.difficult]
        objects += np.bincount(counted, minlength=classes)
        # The published files count pixels from 1.
        boxes, truth = _rounded(_from_one(image.boxes), 1), _from_one(image.true_boxes)
        scores = _rounded(image.scores, 3)
        for label in np.unique(image.labels):
            mine, true = image.labels == label, np.flatnonzero(image.true_labels == label)
            best, nearest = _nearest(boxes[mine], truth[true])
            nearest = true[nearest] if len(true) else nearest
            ignored = image.difficult[nearest] if len(true) else np.zeros(len(best), bool)
            columns[label].append((scores[mine], best, np.full(len(best), number), nearest, ignored))
    return np.array([_of_class(column, count) for column, count in zip(columns, objects)])


def _of_class(parts: Sequence[tuple[np.ndarray, ...]], objects: int) -> list[float]:
    """Compute the AP in percent of one class at every threshold.

    Args:
        parts: for each image with detections: their scores, largest IoU, image, nearest object, and whether that is
            difficult; (K,) each.
        objects: number of objects that count.
    """
    if not parts or not objects:
        return [0.0] * len(THRESHOLDS)
    score, overlap, image, nearest, ignored = (np.concatenate(column) for column in zip(*parts))
    order = np.argsort(-score, kind='stable')
    overlap, ignored, target = overlap[order], ignored[order], np.stack([image, nearest], 1)[order]
    found = []
    for threshold in THRESHOLDS:
        hit = overlap > threshold / 100
        candidates = np.flatnonzero(hit & ~ignored)
        correct = np.zeros(len(order), bool)
        correct[candidates[np.unique(target[candidates], axis=0, return_index=True)[1]]] = True
        wrong = ~correct & ~(hit & ignored)
        right, total = np.cumsum(correct), np.cumsum(correct | wrong)
        precision = right / np.maximum(total, np.finfo(float).eps)
        found.append(100 * eleven_points(right / objects, precision))
    return found


def _nearest(boxes: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest IoU (K,) of each box with the objects, and the number (K,) of the first such object."""
    if not len(truth):
        return np.full(len(boxes), -np.inf), np.zeros(len(boxes), int)
    table = overlaps(boxes, truth)
    nearest = table.argmax(1)
    return table[np.arange(len(boxes)), nearest], nearest


def _from_one(boxes: np.ndarray) -> np.ndarray:
    return boxes.astype(float).reshape(-1, 4) + np.array([1.0, 1.0, 0.0, 0.0])


def _rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    """Round as a printed number is rounded, which `np.round` does not in all cases."""
    flat = [float(f'{value:.{decimals}f}') for value in values.astype(float).ravel().tolist()]
    return np.array(flat, float).reshape(values.shape)


def _to_array(values: Tensor) -> np.ndarray:
    """Return a tensor as an array; NumPy has no bfloat16."""
    return (values.float() if values.dtype == torch.bfloat16 else values).detach().cpu().numpy()


class PerImage(BaseMetric):
    """A metric that keeps the detections and objects of every image by its id, and gathers them from all processes."""

    reads = frozenset({'boxes', 'scores', 'box_labels'})

    def __init__(self) -> None:
        super().__init__()
        self.results: list[tuple[int, Found]] = []

    def process(self, data_batch: object, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the answers of a batch.

        Args:
            data_batch: ignored.
            data_samples: one dict: `ids` (N,), and lists of N tensors, `boxes` (K, 4), `scores` (K,) and `box_labels`
                (K,) of the detections, `true_boxes` (M, 4), `true_box_labels` (M,) and `difficult` (M,) of the objects.

        Raises:
            InputError: an entry is missing.
        """
        for answer in data_samples:
            keys = ('boxes', 'scores', 'box_labels', 'true_boxes', 'true_box_labels', 'difficult')
            if lacking := next((key for key in ('ids', *keys) if answer.get(key) is None), None):
                raise InputError(
                    f"{type(self).__name__}: a batch that is measured must hold '{lacking}', see docs/data.md, Boxes"
                )
            columns = [[_to_array(one) for one in answer[key]] for key in keys]
            for index, *arrays in zip(answer['ids'].tolist(), *columns):
                self.results.append((index, Found(*arrays)))

    def measure(self, images: Sequence[Found]) -> dict[str, float]:
        """Compute the metrics from all images, each once, in the order of their ids."""
        raise NotImplementedError

    def compute_metrics(self, results: list[tuple[int, Found]]) -> dict[str, float]:
        """Compute the metrics from the results of all processes; images of one id count once.

        Raises:
            InputError: no object counts.
        """
        once = dict(results)
        images = [once[index] for index in sorted(once)]
        if all(image.difficult.all() for image in images):
            raise InputError(f'{type(self).__name__}: none of the images has an object that counts')
        return self.measure(images)

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the metrics over the images of all processes; see `Accuracy.evaluate`."""
        gathered = [result for results in all_gather_object(self.results) for result in results]
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in self.compute_metrics(gathered).items()}

    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes of the data.

        Raises:
            InputError: the data set does not name them.
        """
        names = (self.dataset_meta or {}).get('classes')
        if not names:
            raise InputError(f'{type(self).__name__}: the data set does not name its classes; give it a metainfo')
        return tuple(names)


@METRICS.register_module()
class VOCAveragePrecision(PerImage):
    """`voc/AP`, `voc/AP50` and `voc/AP75`, in percent: 11-point AP, averaged over the classes.

    AP is averaged over the IoU thresholds 0.5, 0.55, ..., 0.95 too. See `average_precisions`. The AP50 of each class is
    written to the log.
    """

    default_prefix = 'voc'
    names = ('voc/AP', 'voc/AP50', 'voc/AP75')

    def measure(self, images: Sequence[Found]) -> dict[str, float]:
        classes = self.classes()
        table = average_precisions(images, len(classes))
        each = ', '.join(f'{name} {value:.1f}' for name, value in zip(classes, table[:, 0]))
        MMLogger.get_current_instance().info(f'AP50 of each class: {each}')
        mean = table.mean(0)
        at = dict(zip(THRESHOLDS, mean.tolist()))
        return {'AP': float(mean.mean()), 'AP50': at[50], 'AP75': at[75]}
