"""Random low-frequency masks from Fourier space (FMix)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def frequencies(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """(height, width // 2 + 1) float32 |f| of the bins of a real 2-D FFT, in cycles a pixel."""
    rows = torch.fft.fftfreq(height, device=device)
    columns = torch.fft.rfftfreq(width, device=device)
    return torch.hypot(rows[:, None], columns)


def low_pass_field(n: int, height: int, width: int, decay: float, device: torch.device | str | None = None) -> Tensor:
    """(n, height, width) float32 random fields whose amplitude falls as |f| ** -decay in every direction.

    FMix, section 4: the real part of the inverse transform of a complex normal spectrum over
    max(|f|, 1 / max(height, width)) ** decay. The scale of a field means nothing; only its order is used.
    """
    scale = _decayed(height, width, decay, device)
    # Only here does the half spectrum hold both of a wave's two bins, so keeping the real part costs
    # half of the power.
    scale[:, 0] *= 2**0.5
    if width % 2 == 0:
        scale[:, -1] *= 2**0.5
    noise = torch.randn(n, *scale.shape, 2, device=device)
    return to_pixels(torch.view_as_complex(noise * scale[..., None]), height, width)


def two_harmonics_field(
    n: int, height: int, width: int, decay: float, device: torch.device | str | None = None
) -> Tensor:
    """(n, height, width) float32 fields as the official FMix code draws them: horizontally two harmonics.

    That code takes the real and the imaginary part of the spectrum from its frequency rows 0 and 1
    instead of the last axis. What is left has one row a horizontal frequency and two columns, and
    is padded (or cut) to the size of the image. So a field varies strongly along its height and
    only as a constant and one wave along its width.
    """
    scale = _decayed(height, width, decay, device)
    bins = scale.shape[1]
    # A single row of frequencies has no second one to misread: its imaginary part is zero.
    two_rows = torch.nn.functional.pad(scale[:2], (0, 0, 0, max(0, 2 - height)))
    misread = torch.randn(n, 2, bins, 2, device=device) * two_rows[..., None]
    spectrum = torch.complex(misread[:, 0], misread[:, 1])
    padding = (0, max(0, bins - 2), 0, max(0, height - bins))
    spectrum = torch.nn.functional.pad(spectrum, padding)[:, :height, :bins]
    return to_pixels(spectrum, height, width)


def to_pixels(spectrum: Tensor, height: int, width: int) -> Tensor:
    """(N, height, width) real fields of (N, height, width // 2 + 1) complex half spectra, of any symmetry."""
    columns = torch.fft.ifft(spectrum, dim=1)
    parts = torch.view_as_real(columns).clone()
    # A half spectrum's constant and, at even width, its last wave must be real; libraries differ in
    # what they do with what is not.
    parts[:, :, 0, 1].zero_()
    if width % 2 == 0:
        parts[:, :, -1, 1].zero_()
    return torch.fft.irfft(torch.view_as_complex(parts), n=width, dim=2)


def top_share(field: Tensor, share: Tensor) -> Tensor:
    """(N, 1, H, W) bool, true at the largest pixels of each field, in number exactly share * H * W.

    A number that is not whole is rounded up or down by a fair coin.

    Args:
        field: (N, H, W) float.
        share: (N,) float in [0, 1].
    """
    n, height, width = field.shape
    exact = share * (height * width)
    up = torch.rand(n, device=field.device) < 0.5
    count = torch.where(up, exact.ceil(), exact.floor())
    field = field.flatten(1)
    at = (height * width - count).long().clamp_max(height * width - 1)
    least = _sorted(field).gather(1, at[:, None])
    above, level = field > least, field == least
    # Of pixels that are level with the last one taken, the first; as a rule there is one.
    spare = count[:, None] - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1, dtype=torch.int32) <= spare))
    return chosen.view(n, 1, height, width)


def _sorted(field: Tensor) -> Tensor:
    """(N, M) float, every row in ascending order."""
    # On the CPU NumPy sorts with vector instructions, an order of magnitude faster than torch.
    if field.is_cpu:
        return torch.from_numpy(np.sort(field.detach().numpy(), axis=1))
    return field.sort(1).values


def _decayed(height: int, width: int, decay: float, device: torch.device | str | None) -> Tensor:
    """(height, width // 2 + 1) amplitude of every bin."""
    return frequencies(height, width, device).clamp_min(1 / max(height, width)) ** -decay
