"""Quantiles of symmetric Beta distributions, on the device and for a concentration of each element."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST, LARGEST = 1e-3, 1e3
_TERMS, _STEPS = 512, 14


def beta_quantile(p: Tensor, concentration: Tensor) -> Tensor:
    """Compute the x with I_x(a, a) = p, the inverse of the regularised incomplete beta function.

    With s = logit(x), log I is concave in s, so Newton's steps from the median converge from below for every a and p.
    The function is its hypergeometric series (DLMF 8.17.8), whose terms are positive and fall for x <= 1/2; larger p
    are mirrored.

    Args:
        p: (N,) float in [0, 1].
        concentration: (N,) a > 0, limited to [0.001, 1000]: beyond, x is 0 or 1, or 1/2, up to 0.04.

    Returns:
        (N,) float32 in [0, 1]; p itself where a = 1.
    """
    a = concentration.double().clamp(LEAST, LARGEST)
    p = p.double()
    low = torch.minimum(p, 1 - p)
    wanted = low.clamp_min(1e-300).log()
    log_beta = 2 * torch.lgamma(a) - torch.lgamma(2 * a)
    terms = torch.arange(_TERMS, dtype=torch.float64, device=p.device)
    ratios = (2 * a[:, None] + terms) / (a[:, None] + 1 + terms)
    s = torch.zeros_like(a)
    for _ in range(_STEPS):
        series = 1 + (ratios * s.sigmoid()[:, None]).cumprod(1).sum(1)
        log_area = a * (F.logsigmoid(s) + F.logsigmoid(-s)) - a.log() - log_beta + series.log()
        s = (s + (wanted - log_area) * series / a).clamp_max(0)
    x = torch.where(low > 0, s.sigmoid(), 0.0)
    return torch.where(p > 0.5, 1 - x, x).float()
