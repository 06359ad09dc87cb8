"""Shared parts of the losses: precision, and a `Mix` read as dense label shares."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.ops.batches import check_floating, check_labels, readable, what


def check_batch(name: str, logits: Tensor, y: Tensor, mix: Mix) -> None:
    """Raise an `InputError` unless logits, labels and mix are what every loss takes and belong together.

    Labels are held against the number of classes where they can be read without waiting for a device.
    """
    check_floating(f'{name}: logits', logits)
    if logits.dim() != 2:
        raise InputError(f'{name}: logits must be (N, C), got {what(logits)}')
    check_labels(name, y, logits.shape[1])
    if not isinstance(mix, Mix):
        raise InputError(
            f'{name}: the third argument is the Mix that says how the batch was mixed, got {what(mix)}; '
            f'mixed, mix = policy(images), then {name}(model(mixed), labels, mix)'
        )
    if len(mix.source) != len(logits):
        raise InputError(f'{name}: the mix is of {len(mix.source)} samples, the logits are of {len(logits)}')
    if y.device != logits.device:
        raise InputError(f'{name}: labels are on {y.device}, logits on {logits.device}')
    if readable(mix.source) and int(mix.source.amax()) >= len(y):
        raise InputError(f'{name}: {len(y)} labels are not those of the batch that was mixed')


def at_least_float32(logits: Tensor) -> Tensor:
    """`logits`, raised to float32 where the type is narrower."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def label_shares(like: Tensor, y: Tensor, mix: Mix) -> Tensor:
    """(N, C) share of every class in the mixed samples, in [0, 1]; shares of one class add up.

    Args:
        like: (N, C), gives shape and dtype.
        y: (M,) int64 labels of the un-mixed batch, or (M, C) class probabilities.
    """
    weight = mix.weight.to(like.dtype)
    if y.dim() == 2:
        return torch.einsum('nk,nkc->nc', weight, y.to(like.dtype)[mix.source])
    return torch.zeros_like(like).scatter_add_(1, y[mix.source], weight)
