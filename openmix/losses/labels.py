"""Shared parts of the losses: input checks, precision, and dense label shares computed from a `Mix`."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.ops.batches import check_floating, check_labels, readable, what


def check_batch(name: str, logits: Tensor, y: Tensor, mix: Mix) -> None:
    """Raise an `InputError` unless logits, labels and mix have the types and shapes that every loss needs.

    Label values are compared with the number of classes only if they can be read without a GPU sync.
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
    if mix.earlier is not None and mix.earlier.shape != logits.shape:
        raise InputError(
            f'{name}: images of earlier batches have shares of {mix.earlier.shape[1]} classes, the logits are of '
            f'{logits.shape[1]}'
        )
    if y.device != logits.device:
        raise InputError(f'{name}: labels are on {y.device}, logits on {logits.device}')
    if readable(mix.source) and int(mix.source.amax()) >= len(y):
        raise InputError(f'{name}: {len(y)} labels are not those of the batch that was mixed')


def refuse_earlier(name: str, mix: Mix) -> None:
    """Raise an `InputError` if images of earlier batches are in the mix, for losses that read each source by itself."""
    if mix.earlier is not None:
        raise InputError(
            f'{name}: reads the labels of the sources one by one, and images of earlier batches, which have shares of '
            'classes instead, are in the mix; take mix_ce, mix_bce or decoupled_bce'
        )


def at_least_float32(logits: Tensor) -> Tensor:
    """Cast float16 and bfloat16 logits to float32; return others unchanged."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def mean_of_rows(name: str, values: Tensor, rows: Tensor | None) -> Tensor:
    """Average one value per sample over all samples; a weight of 0 masks a sample, which still counts in the number.

    Args:
        name: the loss, for the message.
        values: (N,).
        rows: (N,) weights of the samples, such as a confidence mask; None: 1 each.

    Raises:
        InputError: `rows` have another shape.
    """
    if rows is None:
        return values.mean()
    if rows.shape != values.shape:
        raise InputError(f'{name}: rows must be {tuple(values.shape)}, one weight a sample, got {what(rows)}')
    return (values * rows.to(values.dtype)).mean()


def label_shares(like: Tensor, y: Tensor, mix: Mix) -> Tensor:
    """Compute the (N, C) share of every class in each mixed sample, see `Mix.soft_labels`.

    Args:
        like: (N, C) tensor with the shape and dtype of the result.
        y: (M,) int64 labels of the clean batch, or (M, C) class probabilities.
        mix: how the batch was mixed.
    """
    if y.dim() == 2:
        return mix.soft_labels(y.to(like.dtype))
    return mix.soft_labels(y, like.shape[1], like.dtype)
