"""Batched cuts of small grids among many sources: every output of a group in turn, every group at once."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 2


def neighbours(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """(H W, H W) float32, 1 where two sites of a grid are side by side or above each other."""
    at = torch.arange(height * width, device=device)
    rows, columns = at // width, at % width
    return ((rows[:, None] - rows).abs() + (columns[:, None] - columns).abs() == 1).float()


def share_energy(unary: Tensor, shares: Tensor, near: Tensor, beta: float, bonus: float = 0.0) -> Tensor:
    """(...) energy of the shares of n sources at S sites.

    Every site costs its shares of the sources' costs, every bond beta / 2 times the square of the
    distance of the shares at its ends, which is beta between two sources; a site shared evenly by
    two gets `bonus` back.

    Args:
        unary: (..., S, n) cost of every source at every site.
        shares: (..., S, n), summing to 1 over n.
        near: (S, S), see `neighbours`.
        beta: weight of a bond.
        bonus: what a shared site gets.
    """
    squares = shares.square().sum(-1)
    bonds = near.sum(1) * squares - (shares * (near @ shares)).sum(-1)
    return (shares * unary).sum((-2, -1)) + (beta / 2 * bonds - 2 * bonus * (1 - squares)).sum(-1)


def cut_shares(
    unary: Tensor,
    near: Tensor,
    side: Tensor,
    beta: float,
    pairs: Tensor | None = None,
    allowed: Tensor | None = None,
    bonus: float = 0.0,
    before: Tensor | None = None,
) -> Tensor:
    """(B, S, n) shares of little `share_energy`: one source a site, or two with half each.

    Sites of one colour of a checkerboard take their best label given the other colour's, in turns,
    from several beginnings: each site's cheapest source, that of its neighbourhood, that of the
    whole grid, and the labelling before. The one of least energy stays; it is never above `before`.

    Args:
        unary: (B, S, n).
        near: (S, S), see `neighbours`.
        side: (S, 1) bool, the colour of every site.
        beta, bonus: see `share_energy`.
        pairs: (B, Q, 2) int64, the pairs of sources that may share a site; None: no site is shared.
        allowed: (B, Q) bool, which of them really may.
        before: (B, S, n) a labelling to begin at.
    """
    smooth = unary + 0.5 * (near @ unary)
    begin = torch.stack([unary, smooth, unary.sum(1, keepdim=True).expand_as(unary)], 1)
    shares = _one_hot(begin.argmin(3), unary)
    if before is not None:
        shares = torch.cat([shares, before[:, None]], 1)
    starts, n = shares.shape[1], unary.shape[2]
    half_degree = (beta / 2) * near.sum(1)[:, None]
    for _ in range(_ROUNDS):
        for turn in (side, ~side):
            cost = unary[:, None] - beta * (near @ shares)
            if pairs is None or allowed is None:
                chosen = _one_hot(cost.argmin(3), unary)
            else:
                members = pairs.flatten(1)[:, None, None].expand(-1, starts, len(near), -1)
                mean = cost.gather(3, members).unflatten(3, (-1, 2)).mean(4)
                mean = (mean - half_degree / 2 - bonus).masked_fill(~allowed[:, None, None], torch.inf)
                best = torch.cat([cost, mean], 3).argmin(3)
                one = best.clamp_max(n - 1)
                members = pairs[:, None].expand(-1, starts, -1, -1)
                two = (best - n).clamp_min(0)[..., None].expand(-1, -1, -1, 2)
                ends = torch.where((best < n)[..., None], one[..., None], members.gather(2, two))
                chosen = torch.zeros_like(shares).scatter_add_(3, ends, torch.full_like(shares[..., :2], 0.5))
            shares = torch.where(turn, chosen, shares)
    best = share_energy(unary[:, None], shares, near, beta, bonus).argmin(1)
    return shares.gather(1, best.view(-1, 1, 1, 1).expand(-1, 1, *unary.shape[1:]))[:, 0]


def cut_jointly(
    cost: Tensor,
    size: tuple[int, int],
    compatibility: Tensor,
    beta: float,
    gamma: float,
    threshold: float,
    bonus: float,
    sweeps: int,
) -> Tensor:
    """(P, m, S, m) shares of the m sources of each of P groups in each of its m outputs.

    Outputs are cut one after the other, `sweeps` times, from random labels on. A source that the
    other outputs, weighed by its compatibility with what they hold, use more than `threshold`
    costs 2 gamma times that use: the linear form of a supermodular penalty. From the second sweep
    on sites may be shared by two of the three sources that the output holds most of. Before the
    last sweep, of two outputs made of the same several sources one loses the first and the other
    the second of them, at a cost of gamma.

    Args:
        cost: (P, S, m) of every source at every site of a grid of S = H W.
        size: H and W.
        compatibility: (P, m, m) >= 0, how much a use of one source counts as one of another.
        beta, bonus: see `share_energy`.
        gamma: weight of the penalty.
        threshold: use, in sites, that is free.
        sweeps: how many, >= 1.
    """
    groups, sites, m = cost.shape
    near = neighbours(*size, device=cost.device)
    at = torch.arange(sites, device=cost.device)
    side = ((at // size[1] + at % size[1]) % 2 == 0)[:, None]
    labels = torch.randint(m, (groups, m, sites), device=cost.device)
    shares = _one_hot(labels, cost)
    held = shares.sum(2)
    among = torch.triu_indices(min(3, m), min(3, m), 1, device=cost.device).T.flatten()
    lost = torch.zeros_like(held)
    for sweep in range(sweeps):
        if sweep == sweeps - 1 and sweep > 0:
            lost = duplicates(held > 0).to(cost.dtype)
        total = held.sum(1)
        for i in range(m):
            used = (compatibility @ (total - held[:, i])[..., None])[..., 0]
            penalty = 2 * gamma * torch.where(used > threshold, used, torch.zeros_like(used)) + gamma * lost[:, i]
            unary = cost + penalty[:, None]
            if sweep == 0 or m == 1:
                shares[:, i] = cut_shares(unary, near, side, beta)
            else:
                most, which = held[:, i].topk(min(3, m))
                pairs, allowed = which[:, among].unflatten(1, (-1, 2)), most[:, among].unflatten(1, (-1, 2)).amin(2) > 0
                shares[:, i] = cut_shares(unary, near, side, beta, pairs, allowed, bonus, shares[:, i].clone())
            new = shares[:, i].sum(1)
            total = total + new - held[:, i]
            held[:, i] = new
    return shares


def duplicates(present: Tensor) -> Tensor:
    """(P, m, n) bool, what outputs that are made of the same sources are to lose, of (P, m, n) bool.

    The first source where a later output is alike, the second where an earlier one is; nothing
    where an output has one source alone.
    """
    alike = (present[:, :, None] == present[:, None]).all(3).triu(1)
    order = present.cumsum(2).masked_fill(~present, 0)
    several = present.sum(2, keepdim=True) > 1
    first, second = alike.any(2)[:, :, None] & (order == 1), alike.any(1)[:, :, None] & (order == 2)
    return (first | second) & several


def _one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """(..., n) in the dtype of `like` (..., n), 1 at the labels (...)."""
    zeros = torch.zeros(*labels.shape, like.shape[-1], dtype=like.dtype, device=like.device)
    return zeros.scatter_(-1, labels[..., None], 1)
