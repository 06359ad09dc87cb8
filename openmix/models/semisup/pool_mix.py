"""Mixing of the whole pool, labelled and unlabelled images together, for methods that mix both pools."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.ops.beta import draw_lam
from openmix.ops.kept_buffers import KeptBuffers


def draw_mix(n: int, alpha: float, share: str, device: torch.device) -> Mix:
    """Draw how n images are mixed with a random permutation of themselves (Berthelot et al., 2019, Eqs. 8 to 11).

    Each image has a share of max(lam, 1 - lam), at least 1/2, with lam ~ Beta(alpha, alpha).

    Args:
        share: 'batch' draws one lam for all images, 'sample' one for each.
    """
    lam = draw_lam(1 if share == 'batch' else n, alpha, device, fold=True).expand(n)
    return Mix.pairs(torch.randperm(n, device=device), lam)


def rows_of(mix: Mix, rows: slice) -> Mix:
    """Return how some rows were mixed, with the same sources."""
    return Mix(mix.source[rows], mix.weight[rows])


def interleaving(n: int, size: int, device: torch.device | str | None = None) -> Tensor:
    """Return the order (n,) int64 in which every sub-batch of `size` holds images of all; it is its own inverse.

    The first sub-batch keeps its first part and exchanges its part i with part i of sub-batch i, so that it is
    representative of all n images. Where `size` is no multiple of the number of sub-batches, later parts are larger.

    Raises:
        InputError: n is no multiple of `size`.
    """
    if n % size:
        raise InputError(
            f'{n} labelled and unlabelled images make no whole sub-batches of the {size} labelled ones; give as many '
            'unlabelled images per labelled one in every batch'
        )
    count = n // size
    least, larger = size // count, size % count
    place = torch.arange(n, device=device)
    part_of, within = place // size, place % size
    even = (count - larger) * least
    own_part = torch.where(
        within < even, within // max(least, 1), count - larger + (within - even).clamp(min=0) // (least + 1)
    )
    exchanged = torch.where(own_part == part_of, within, place)
    return torch.where(part_of == 0, own_part * size + within, exchanged)


def logits_in_parts(network: nn.Module, x: Tensor, size: int) -> Tensor:
    """Compute the (n, C) logits of images in sub-batches; only the first moves batch-norm statistics.

    The sub-batches are interleaved, and each is normalised by itself.

    Args:
        network: (N, 3, H, W) -> (N, C).
        x: (n, 3, H, W), the labelled images first.
        size: images of a sub-batch, the number of labelled ones.
    """
    order = interleaving(len(x), size, x.device)
    first, *others = x[order].split(size)
    found = [network(first)]
    with KeptBuffers(network):
        found += [network(part) for part in others]
    return torch.cat(found)[order]
