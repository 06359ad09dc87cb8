"""Token merging: join the most similar tokens of a transformer (Bolya et al., ICLR 2023)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.ops.precision import full_precision


def merge_counts(total: int, blocks: int) -> list[int]:
    """Share a number of tokens to merge among blocks, falling linearly from 1.5 to 0.5 times the mean."""
    if blocks == 1:
        return [total]
    weights = [1.5 - place / (blocks - 1) for place in range(blocks)]
    sums = [sum(weights[: place + 1]) / sum(weights) for place in range(blocks)]
    upto = [0, *(round(total * part) for part in sums)]
    return [after - before for before, after in pairwise(upto)]


def match_tokens(keys: Tensor, count: int, leading: int) -> Tensor:
    """Choose tokens to merge by bipartite soft matching, and return where every token goes.

    Every second of the patches may be merged: each has its most similar partner among the others, by the cosine of
    their keys, and the `count` pairs that are most similar are merged, or all of them. What is left are the leading
    tokens, then those that could be merged and are not, then the others, in their order.

    Args:
        keys: (N, L, D) of any float type.
        count: number of tokens to merge.
        leading: tokens before the patches, which stay as they are.

    Returns:
        (N, L) int64 places in [0, L - r), where r is `count`, or the number that may be merged if that is less.
    """
    n, length = keys.shape[:2]
    keys = F.normalize(keys.float(), dim=2)
    own, others = keys[:, leading + 1 :: 2], keys[:, leading::2]
    count = min(count, own.shape[1])
    with full_precision(keys):
        best, partner = (own @ others.transpose(1, 2)).max(2)
    order = best.argsort(dim=1, descending=True, stable=True)
    merged = torch.zeros_like(best, dtype=torch.bool).scatter(1, order[:, :count], True)
    first = leading + own.shape[1] - count
    places = torch.arange(length, device=keys.device).repeat(n, 1)
    places[:, leading::2] = first + torch.arange(others.shape[1], device=keys.device)
    places[:, leading + 1 :: 2] = torch.where(merged, first + partner, leading + (~merged).cumsum(1) - 1)
    return places


def merge_tokens(tokens: Tensor, sizes: Tensor, places: Tensor, left: int) -> tuple[Tensor, Tensor]:
    """Average the tokens that go to one place, weighted by their sizes.

    Args:
        tokens: (N, L, D).
        sizes: (N, L) float, of how many patches a token is made.
        places: (N, L) int64, see `match_tokens`.
        left: number of places.

    Returns:
        (N, left, D) tokens in their dtype, and their (N, left) sizes.
    """
    # A product with the matrix of who goes where, whose sums have the same order in every run.
    goes = (places[:, None] == torch.arange(left, device=places.device)[:, None]).to(sizes.dtype)
    with full_precision(sizes):
        total = (goes @ sizes[..., None])[..., 0]
        return ((goes * sizes[:, None]) @ tokens.to(sizes.dtype) / total[..., None]).to(tokens.dtype), total
