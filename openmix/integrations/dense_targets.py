"""Segmentation masks and boxes of a mixed batch, from the origin of its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from openmix.errors import InputError
from openmix.integrations.origin import Origin
from openmix.ops.batches import what
from openmix.ops.visible import resized_boxes, visible_part

_KEYS = ('boxes', 'labels', 'image_id')
_PLAIN = (
    tv_tensors.BoundingBoxFormat.XYXY,
    tv_tensors.BoundingBoxFormat.XYWH,
    tv_tensors.BoundingBoxFormat.CXCYWH,
)


def mixed_masks(masks: Tensor, origin: Origin) -> Tensor:
    """Take the label of every pixel from the image that the pixel comes from.

    Args:
        masks: (N, H, W) labels of the pixels of the clean images.
        origin: where the mixed pixels come from.

    Raises:
        InputError: the policy interpolates pixels, which then have no one label.
    """
    if not origin.cuts:
        raise InputError(
            f'MixTransform: {origin.name} interpolates pixels, which have no one label; take a policy that cuts, or '
            "masks='soft' for the shares of the classes"
        )
    rows = origin.source[:, :, None, None].expand(origin.shares.shape)
    y, x = _places(origin)
    return masks[_of_largest(rows, origin.shares), y, x]


def soft_masks(masks: Tensor, origin: Origin, num_classes: int) -> Tensor:
    """Mix the one-hot labels of the pixels by the shares of the pixels: (N, C, H, W) float32.

    Args:
        masks: (N, H, W) integer labels of the pixels of the clean images, below `num_classes`.
        origin: where the mixed pixels come from.
        num_classes: C.

    Raises:
        InputError: a label is no class.
    """
    low, high = int(masks.min()), int(masks.max())
    if low < 0 or high >= num_classes:
        raise InputError(
            f'MixTransform: the labels of pixels must be in [0, {num_classes - 1}], got {low} to {high}; '
            "masks='soft' has no class to ignore"
        )
    n, k, height, width = origin.shares.shape
    y, x = _places(origin)
    found = torch.zeros(n, num_classes, height, width, device=masks.device)
    for i in range(k):
        labels = masks[origin.source[:, i, None, None], y, x].long()
        found.scatter_add_(1, labels[:, None], origin.shares[:, i : i + 1].contiguous())
    return found


def mixed_targets(targets: Sequence[Mapping[str, Any]], origin: Origin) -> list[dict[str, Any]]:
    """Collect the boxes of all images that a mixed image is made of, clipped to what is visible of them.

    Args:
        targets: N dicts of `boxes` (B, 4), `tv_tensors.BoundingBoxes` or XYXY, and `labels` (B,), as torchvision's
            detectors take them; `image_id` is kept.
        origin: where the mixed pixels come from.

    Returns:
        N dicts of `boxes`, `labels` and `shares` (B,) float32 in (0, 1], the share of each box that is visible, of its
        whole area: of a box that reaches past its image it is below 1 with nothing covered.

    Raises:
        InputError: a target has other keys, or boxes and labels that do not fit each other or the images.
    """
    height, width = origin.at.shape[2:]
    given = [_xyxy(target, (height, width)) for target in targets]
    return [_of_image(n, targets, given, origin) for n in range(len(targets))]


def _of_image(n: int, targets: Sequence[Mapping[str, Any]], given: Sequence[Tensor], origin: Origin) -> dict[str, Any]:
    boxes, labels, shares = [], [], []
    for row, visible, into in _visible_images(n, origin):
        size = (visible.shape[0], visible.shape[1])
        placed = given[row] if into is None else resized_boxes(given[row], size, into)
        clipped, share = visible_part(placed, visible)
        kept = share > 0
        boxes.append(clipped[kept])
        shares.append(share[kept])
        labels.append(targets[row]['labels'][kept])
    found: dict[str, Any] = {
        'boxes': _like(torch.cat(boxes), targets[n]['boxes']),
        'labels': torch.cat(labels),
        'shares': torch.cat(shares),
    }
    return {**targets[n], **found}


def _visible_images(n: int, origin: Origin) -> list[tuple[int, Tensor, tuple[int, int, int, int] | None]]:
    """List the images of a mixed image: their row, (H, W) how much is visible, and where they are resized into."""
    resized: list[tuple[int, Tensor, tuple[int, int, int, int] | None]] = []
    still: dict[int, Tensor] = {}
    for row, share in zip(origin.source[n].tolist(), origin.shares[n]):
        if bool((origin.moved[n] & (share > 0)).any()):
            resized.append((row, share, _resized_into(n, share, origin)))
        else:  # an image that is its own partner is one image
            still[row] = still[row] + share if row in still else share
    return [*((row, share, None) for row, share in still.items()), *resized]


def _resized_into(n: int, share: Tensor, origin: Origin) -> tuple[int, int, int, int]:
    """Return the box that a whole image was resized into: left, top, right and bottom edge.

    Raises:
        InputError: the image was not resized, but moved in another way.
    """
    height, width = share.shape
    inside = torch.nonzero(share > 0)
    (top, left), (bottom, right) = inside.amin(0).tolist(), (inside.amax(0) + 1).tolist()
    for axis, (low, high, length) in enumerate(((top, bottom, height), (left, right, width))):
        scale = length / (high - low)
        wanted = (inside[:, axis] - low + 0.5) * scale - 0.5
        off = (origin.at[n, axis][share > 0] - wanted).abs().max()
        # Methods of interpolation differ by up to half a pixel of the small image.
        if float(off) > (scale + 1) / 2 + 0.02 or len(inside) != (bottom - top) * (right - left):
            raise InputError(
                f'MixTransform: {origin.name} moves pixels, but does not resize a whole image into a box; boxes cannot '
                'follow it'
            )
    return left, top, right, bottom


def _places(origin: Origin) -> tuple[Tensor, Tensor]:
    at = origin.at.round().long()
    height, width = at.shape[2:]
    return at[:, 0].clamp(0, height - 1), at[:, 1].clamp(0, width - 1)


def _of_largest(values: Tensor, shares: Tensor) -> Tensor:
    return values.gather(1, shares.argmax(1, keepdim=True))[:, 0]


def _xyxy(target: Mapping[str, Any], size: tuple[int, int]) -> Tensor:
    """Return the boxes of a target as (B, 4) float32 XYXY.

    Raises:
        InputError: the target cannot be mixed.
    """
    if further := [key for key in target if key not in _KEYS]:
        raise InputError(
            f'MixTransform: a target with {", ".join(map(str, further))} is not mixed; it has boxes, labels and an '
            'image_id at most'
        )
    boxes, labels = target.get('boxes'), target.get('labels')
    if not isinstance(boxes, Tensor) or boxes.dim() != 2 or boxes.shape[1] != 4:
        raise InputError(f'MixTransform: boxes of an image must be (B, 4), got {what(boxes)}')
    if not isinstance(labels, Tensor) or labels.shape[:1] != boxes.shape[:1]:
        raise InputError(f'MixTransform: {len(boxes)} boxes need as many labels, got {what(labels)}')
    plain = boxes.as_subclass(Tensor).float()
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        if boxes.format not in _PLAIN:
            raise InputError(f'MixTransform: boxes in the format {boxes.format.name} are not mixed; take XYXY')
        if tuple(boxes.canvas_size) != size:
            raise InputError(
                f'MixTransform: boxes are of a canvas of {tuple(boxes.canvas_size)}, the images of {size} pixels'
            )
        plain = F.convert_bounding_box_format(plain, boxes.format, tv_tensors.BoundingBoxFormat.XYXY)
    if not bool((plain.isfinite() & (plain[:, 2:] > plain[:, :2]).repeat(1, 2)).all()):
        raise InputError(
            'MixTransform: a box has no area, ends before it begins or is not finite; boxes are left, top, right and '
            'bottom edges'
        )
    return plain


def _like(boxes: Tensor, given: Tensor) -> Tensor:
    """Return XYXY boxes in the class, the format and the floating dtype of the given ones."""
    dtype = given.dtype if given.is_floating_point() else torch.float32
    if not isinstance(given, tv_tensors.BoundingBoxes):
        return boxes.to(dtype)
    found = F.convert_bounding_box_format(boxes, tv_tensors.BoundingBoxFormat.XYXY, given.format)
    return tv_tensors.BoundingBoxes(found.to(dtype), format=given.format, canvas_size=given.canvas_size)
