"""Draw the mixing ratio lam, and shares of several images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import InputError

_TRIES = 64
_SMALL = 0.1  # alpha, below which the gamma draws behind shares may all underflow


def draw_lam(
    n: int,
    alpha: float,
    device: torch.device | str | None = None,
    lam_range: tuple[float, float] = (0.0, 1.0),
    fold: bool = False,
) -> Tensor:
    """Draw (n,) float32 mixing ratios from Beta(alpha, alpha), restricted to `lam_range`, on `device`.

    The draw uses the default generator of `device` and causes no GPU sync. With a range, the first of 64
    draws that lies inside is taken; if none does, the first draw is clamped, so a narrow range in the far
    tail of the distribution is approximate.

    Args:
        n: number of draws.
        alpha: > 0.
        device: device of the result.
        lam_range: lowest and highest lam.
        fold: take max(lam, 1 - lam) of each draw.

    Raises:
        InputError: the range is not 0 <= low < high <= 1.
    """
    low, high = lam_range
    if not 0 <= low < high <= 1:
        raise InputError(f'lam_range must be 0 <= low < high <= 1, got {lam_range}')
    bounded = (low, high) != (0.0, 1.0)
    lam = draw_shares((n, _TRIES if bounded else 1, 2), alpha, device)[..., 0]
    if fold:
        lam = torch.maximum(lam, 1 - lam)
    if bounded:
        inside = (lam >= low) & (lam <= high)
        first = inside.to(torch.int8).argmax(1, keepdim=True)
        lam = lam.gather(1, first).clamp(low, high)
    return lam[:, 0]


def draw_shares(shape: Sequence[int], alpha: float, device: torch.device | str | None = None) -> Tensor:
    """Draw shares (..., K) float32 of that shape, whose sum over K is 1, from the symmetric Dirichlet(alpha).

    With a small alpha all gamma draws underflow, and their shares would be 1/K instead of nearly 0 and 1; their
    logarithms are drawn then: log G(a) = log G(a + 1) + log(U) / a.
    """
    concentration = torch.full(tuple(shape), float(alpha), device=device)
    if alpha >= _SMALL:
        return torch.distributions.Dirichlet(concentration, validate_args=False).sample()
    gamma = torch.distributions.Gamma(concentration + 1, torch.ones_like(concentration), validate_args=False).sample()
    # 1 - U, because U may be 0.
    return (gamma.log() + (-torch.rand_like(concentration)).log1p() / alpha).softmax(-1)
