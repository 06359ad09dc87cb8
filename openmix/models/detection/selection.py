"""Choose boxes: the steps of a detector whose results differ in number.

On the meta device, where a recipe is tried without data, values are unknown: as many are chosen as there may be.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import batched_nms


def where_true(mask: Tensor, most: int | None = None) -> Tensor:
    """Return the indices (K,) int64 at which a mask (M,) is true.

    Args:
        mask: (M,) bool.
        most: the number of true entries that there may be; None: any number. Used on the meta device only.
    """
    if mask.is_meta:
        count = len(mask) if most is None else min(most, len(mask))
        return torch.empty(count, dtype=torch.int64, device='meta')
    return torch.where(mask)[0]


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
    """Suppress boxes that overlap with one of a higher score in the same group (NMS).

    Args:
        boxes: (M, 4) left, top, right, bottom.
        scores: (M,).
        groups: (M,) int64.
        threshold: the IoU above which a box is suppressed.
        most: the number of boxes to keep.

    Returns:
        indices (K,) int64 of the boxes kept, K <= most, the highest score first.
    """
    if boxes.is_meta:
        return torch.empty(min(most, len(boxes)), dtype=torch.int64, device='meta')
    return batched_nms(boxes, scores, groups, threshold)[:most]


class BoxMatcher(Matcher):
    """torchvision's assignment of objects to boxes, without waiting for a GPU."""

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Return for each box (M,) int64 the number of its object, or -1 for background, -2 for neither.

        Args:
            match_quality_matrix: (G, M) IoU of G >= 1 objects and M boxes.
        """
        best, nearest = match_quality_matrix.max(0)
        low, between = self.BELOW_LOW_THRESHOLD, self.BETWEEN_THRESHOLDS
        found = torch.where(best < self.high_threshold, between, nearest)
        found = torch.where(best < self.low_threshold, low, found)
        if not self.allow_low_quality_matches:
            return found
        # The boxes nearest to an object, however little they overlap with it.
        forced = (match_quality_matrix == match_quality_matrix.amax(1, keepdim=True)).any(0)
        return torch.where(forced, nearest, found)


class BalancedSampler:
    """Draw boxes to train on: a part with an object, and background for the rest, without waiting for a GPU.

    Args:
        count: number of boxes of an image.
        positive_fraction: the largest fraction of them with an object; where there are fewer, more background is drawn.
    """

    def __init__(self, count: int, positive_fraction: float) -> None:
        self.count, self.positives = count, int(count * positive_fraction)

    def __call__(self, labels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Draw boxes of each image.

        Args:
            labels: for each image (M,): > 0 for an object, 0 for background, < 0 for boxes that are not drawn.

        Returns:
            masks (M,) bool of the boxes with an object and of the background that are drawn, for each image.
        """
        pairs = [self._drawn(of_image) for of_image in labels]
        return [positive for positive, _ in pairs], [negative for _, negative in pairs]

    def _drawn(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        positive = _some(labels >= 1, self.positives)
        return positive, _some(labels == 0, self.count, self.count - positive.sum())


def _some(mask: Tensor, most: int, count: Tensor | int | None = None) -> Tensor:
    """Draw some true entries of a mask (M,): `count` of them, which is at most `most`, or all if there are fewer."""
    keys = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1)
    values, indices = keys.topk(min(most, len(mask)))
    drawn = values >= 0
    if count is not None:
        drawn = drawn & (torch.arange(len(values), device=mask.device) < count)
    return torch.zeros_like(mask).scatter(0, indices, drawn)
