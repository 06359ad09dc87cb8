"""What is left visible of boxes, when pixels of their image are covered or faded by another."""

from __future__ import annotations

import torch
from torch import Tensor


def visible_part(boxes: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Clip boxes to the smallest one around their visible part, and compute the share of their area that is visible.

    Args:
        boxes: (B, 4) float32 left, top, right and bottom edge in pixels; pixel j reaches from j to j + 1. What lies
            outside of the image is not visible: of a box that reaches past it, the share is below 1 with nothing
            covered.
        visible: (H, W) float32 in [0, 1], how much of each pixel is visible.

    Returns:
        (B, 4) clipped boxes; and (B,) shares in [0, 1], 0 where nothing is left or the box has no area, whose
        clipped box means nothing.
    """
    height, width = visible.shape
    across, down = _overlap(boxes[:, 0], boxes[:, 2], width), _overlap(boxes[:, 1], boxes[:, 3], height)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    share = torch.where(area > 0, ((down @ visible) * across).sum(1) / area, 0.0).clamp(0, 1)
    seen, in_x, in_y = (visible > 0).float(), (across > 0).float(), (down > 0).float()
    left, right = _ends((in_y @ seen) * in_x)
    top, bottom = _ends((in_x @ seen.T) * in_y)
    low = torch.maximum(boxes[:, :2], torch.stack([left, top], 1))
    high = torch.minimum(boxes[:, 2:], torch.stack([right, bottom], 1))
    return torch.cat([low, high], 1), share


def resized_boxes(boxes: Tensor, size: tuple[int, int], into: tuple[int, int, int, int]) -> Tensor:
    """Move boxes (B, 4) of an image of `size` (H, W) along with it, when it is resized into a box of another image.

    Args:
        boxes: (B, 4) float32 left, top, right and bottom edge.
        size: height and width of the image.
        into: left, top, right and bottom edge of the box that the whole image is resized into.
    """
    height, width = size
    left, top, right, bottom = into
    scale = boxes.new_tensor([(right - left) / width, (bottom - top) / height] * 2)
    return boxes * scale + boxes.new_tensor([left, top] * 2)


def _overlap(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Compute (B, length), how much of every pixel lies between `low` and `high` (B,)."""
    at = torch.arange(length, device=low.device)
    return (torch.minimum(high[:, None], at + 1) - torch.maximum(low[:, None], at)).clamp_min(0)


def _ends(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B,) float32 the first place with a value above 0 in every row (B, length), and one past the last."""
    there = (seen > 0).float()
    return there.argmax(1).float(), (seen.shape[1] - there.flip(1).argmax(1)).float()
