"""How likely each source class is given a target class, learned from the source predictions of labelled images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError

# Inverse strengths of the regression's penalty, from which accuracy on held-out images chooses; those of
# the released code.
STRENGTHS = (1e4, 3e3, 1e3, 3e2, 1e2, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
_STEPS = 200
_TINY = 1e-30  # below it a probability counts as this, so that its logarithm is finite
_SCALES = (-math.log(100), math.log(100))


def direct(p: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Average the source probabilities of the images of each target class; return p(source | target), (C, S) float64.

    Args:
        p: (N, S) source probabilities.
        y: (N,) int64 target labels; a class without images has the mean of all images.
        num_classes: C.
    """
    p = p.double()
    sums = p.new_zeros(num_classes, p.shape[1]).index_add_(0, y, p)
    counts = torch.bincount(y, minlength=num_classes)[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), p.mean(0))


def by_regression(p: Tensor, y: Tensor, held_out: tuple[Tensor, Tensor], num_classes: int) -> Tensor:
    """Turn a calibrated regression of targets on source probabilities around; return p(source | target), (C, S).

    Multinomial logistic regression without intercept gives p(target | source), a softmax over target classes of the
    scaled coefficients. The held-out images choose its penalty, by accuracy, and its scale, by likelihood. With the
    mean source probabilities of all images, Bayes' rule gives the result (You et al., NeurIPS 2020, section 3.1).

    Args:
        p: (N, S) source probabilities.
        y: (N,) int64 target labels.
        held_out: p and y of other images.
        num_classes: C >= 2; a class without images has a coefficient for every source class too.

    Raises:
        InputError: there are no held-out images.
    """
    held_p, held_y = held_out
    if not len(held_y):
        raise InputError(
            "CoTuning: no image can be held out for the regression: no class has two; take relationship='direct'"
        )
    p, held_p = p.double(), held_p.double()
    best, coefficients, fewest = -1.0, p.new_zeros(num_classes, p.shape[1]), p.new_zeros(num_classes, p.shape[1])
    for strength in reversed(STRENGTHS):  # the strongest penalty first, each begins where the one before has ended
        fewest = fit(p, y, fewest, strength)
        accuracy = ((held_p @ fewest.T).argmax(1) == held_y).double().mean().item()
        if accuracy >= best:  # of equal ones the weakest penalty
            best, coefficients = accuracy, fewest
    scaled = coefficients * scale_of(held_p @ coefficients.T, held_y)
    marginal = torch.cat([p, held_p]).mean(0)
    return (scaled.log_softmax(0) + marginal.clamp(min=_TINY).log()).softmax(1)


def fit(p: Tensor, y: Tensor, start: Tensor, strength: float) -> Tensor:
    """Minimise strength * (sum of the cross-entropies of p @ W.T) + ||W||^2 / 2; return W, (C, S)."""
    return minimum(lambda w: F.cross_entropy(p @ w.T, y, reduction='sum') + w.square().sum() / (2 * strength), start)


def scale_of(logits: Tensor, y: Tensor) -> float:
    """Return the factor in [0.01, 100] by which logits (N, C) have the least cross-entropy."""
    start = logits.new_zeros(())
    found = minimum(lambda log: F.cross_entropy(logits * log.clamp(*_SCALES).exp(), y), start)
    return found.clamp(*_SCALES).exp().item()


def minimum(objective: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Minimise by L-BFGS from a start."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=_STEPS, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn='strong_wolfe'
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            value = objective(x)
            value.backward()
        return value

    optimizer.step(closure)
    return x.detach()


def split(y: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Hold out a share of every class, at least one image of each that has two; return the rows kept and held out.

    The draw is the same for the same labels.

    Args:
        y: (N,) int64.
        share: in (0, 1).
    """
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    kept, held = [], []
    for label in y.unique():
        rows = order[y[order] == label]
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    return torch.cat(kept).sort().values, torch.cat(held).sort().values
