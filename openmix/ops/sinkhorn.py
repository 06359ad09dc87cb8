"""Sinkhorn's iterations: a soft assignment of samples to clusters in equal parts."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int, rows: Tensor | None = None) -> Tensor:
    """Assign samples to K clusters, softly, so that all clusters get about the same share of them.

    exp(scores / epsilon) is scaled `iterations` times, first to equal sums of the clusters, then to sums of 1 of the
    samples (Cuturi, NeurIPS 2013; Caron et al., NeurIPS 2020, Appendix A). Logarithms are scaled, in at least float32,
    so that no epsilon makes it overflow, or leaves a sample with zeros.

    Args:
        scores: (N, K), of any float type.
        epsilon: > 0; a smaller one gives harder assignments.
        iterations: >= 1.
        rows: (N,) bool, the samples that count; None: all. What the others get means nothing.

    Returns:
        (N, K), rows sum to 1.
    """
    log = scores.to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    for _ in range(iterations):
        counted = log if rows is None else torch.where(rows[:, None], log, -torch.inf)
        log = log - counted.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


@torch.no_grad()
def transport_plan(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Solve optimal transport between P and P equal weights with entropy, for every cost matrix (Cuturi, NeurIPS 2013).

    exp(-cost / epsilon) is scaled `iterations` times, first to equal sums of the rows, then of the columns, in
    logarithms.

    Args:
        cost: (N, P, P), of any float type; computed in at least float32.
        epsilon: > 0, weight of the entropy.
        iterations: >= 1.

    Returns:
        (N, P, P), P times the plan: columns sum to 1, and so do rows, once the iterations have converged.
    """
    log = cost.to(torch.promote_types(cost.dtype, torch.float32)) / -epsilon
    for _ in range(iterations):
        log = log - log.logsumexp(2, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()
