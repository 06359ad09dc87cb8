"""Batched cuts of small grids among many sources: the outputs of a group in turn, all groups in parallel."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 2


def neighbours(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """Make the (H W, H W) float32 adjacency matrix of a grid with 4 neighbours per node."""
    at = torch.arange(height * width, device=device)
    rows, columns = at // width, at % width
    return ((rows[:, None] - rows).abs() + (columns[:, None] - columns).abs() == 1).float()


def share_energy(unary: Tensor, shares: Tensor, near: Tensor, beta: float, bonus: float = 0.0) -> Tensor:
    """Compute the (...) energy of assigning shares of n sources to S nodes.

    A node costs the sum of its sources' unary costs, weighted by their shares. An edge costs beta / 2 times
    the squared distance between the shares at its two ends, which is beta between two different sources.
    A node split evenly between two sources costs `bonus` less.

    Args:
        unary: (..., S, n) cost of every source at every node.
        shares: (..., S, n), summing to 1 over n.
        near: (S, S) adjacency matrix, see `neighbours`.
        beta: weight of an edge.
        bonus: reward of a node that two sources share evenly.
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
    """Find (B, S, n) shares with low `share_energy`, where each node has one source, or two with half each.

    Local search (iterated conditional modes): the nodes of one colour of a checkerboard take their best label
    given the nodes of the other colour, in turns. It starts from several labellings: the cheapest source of
    each node, of its neighbourhood and of the whole grid, and `before`. The result with the lowest energy is
    returned; its energy is never above that of `before`.

    Args:
        unary: (B, S, n).
        near: (S, S) adjacency matrix, see `neighbours`.
        side: (S, 1) bool, the checkerboard colour of every node.
        beta, bonus: see `share_energy`.
        pairs: (B, Q, 2) int64, candidate pairs of sources that may share a node; None: no node is shared.
        allowed: (B, Q) bool, true for the candidate pairs that are permitted.
        before: (B, S, n) a labelling to start from.
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
    """Compute (P, m, S, m): for each of P groups and each of its m outputs, the shares of the m sources at S nodes.

    The outputs of a group are cut one after the other, `sweeps` times, starting from random labels. The use
    of a source by the other outputs is the number of nodes they give to each source, weighted by
    `compatibility`. A source whose use exceeds `threshold` costs 2 gamma times its use, the linearised form
    of a supermodular penalty. From the second sweep on, two of the three largest sources of an output may
    share a node. In the last of several sweeps, duplicates are penalised: where two outputs have the same
    set of several sources, the first source of one and the second of the other cost gamma more.

    Args:
        cost: (P, S, m) cost of every source at every node of a grid with S = H W nodes.
        size: H and W.
        compatibility: (P, m, m) >= 0, the weight with which use of one source counts as use of another.
        beta, bonus: see `share_energy`.
        gamma: weight of the penalty.
        threshold: use, in nodes, that is free.
        sweeps: number of passes over the outputs, >= 1.
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
    """Mark (P, m, n) bool the sources to penalise in outputs that have the same set of sources.

    Marked are the first source of an output if a later output has the same set, and the second source
    if an earlier output has it. An output with a single source is never marked.

    Args:
        present: (P, m, n) bool, true where an output uses a source.
    """
    alike = (present[:, :, None] == present[:, None]).all(3).triu(1)
    order = present.cumsum(2).masked_fill(~present, 0)
    several = present.sum(2, keepdim=True) > 1
    first, second = alike.any(2)[:, :, None] & (order == 1), alike.any(1)[:, :, None] & (order == 2)
    return (first | second) & several


def _one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """One-hot encode labels (...) as (..., n), with the size and dtype of `like` (..., n)."""
    zeros = torch.zeros(*labels.shape, like.shape[-1], dtype=like.dtype, device=like.device)
    return zeros.scatter_(-1, labels[..., None], 1)
