"""Random low-frequency masks from Fourier space (FMix)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openmix.ops.masks import as_shares

# Up to so many values a row, sorting them all costs less than one call a row.
_SORTED = 2048


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
    noise = torch.view_as_complex(torch.randn(n, *scale.shape, 2, device=device))
    return to_pixels(noise * scale, height, width)


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
    # As new memory, row by row: the second transform is slower where it has to gather its rows.
    columns = torch.fft.ifft(spectrum, dim=1).clone(memory_format=torch.contiguous_format)
    parts = torch.view_as_real(columns)
    # A half spectrum's constant and, at even width, its last wave must be real; libraries differ in
    # what they do with what is not.
    parts[:, :, 0, 1].zero_()
    if width % 2 == 0:
        parts[:, :, -1, 1].zero_()
    return torch.fft.irfft(columns, n=width, dim=2)


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
    field = field.detach().flatten(1)
    at = (height * width - count).long().clamp_max(height * width - 1)
    least = _at_place(field, at)
    if field.is_cpu:
        # As a rule no pixel is level with another, and one comparison is all: NumPy's is the faster.
        chosen = torch.from_numpy(field.numpy() >= least.masked_fill(count[:, None] == 0, torch.inf).numpy())
        if (as_shares(chosen).sum(1) == count).all():
            return chosen.view(n, 1, height, width)
    above, level = field > least, field == least
    # Of pixels that are level with the last one taken, the first.
    spare = count[:, None] - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1, dtype=torch.int32) <= spare))
    return chosen.view(n, 1, height, width)


def _at_place(field: Tensor, at: Tensor) -> Tensor:
    """(N, 1) the value at place at[n] (N,) of row n of `field` (N, M) in ascending order."""
    if not field.is_cpu:
        return field.sort(1).values.gather(1, at[:, None])
    # NumPy sorts and selects with vector instructions, an order of magnitude faster than torch.
    rows = field.numpy()
    if field.shape[1] <= _SORTED:
        return torch.from_numpy(np.sort(rows, axis=1)).gather(1, at[:, None])
    found = [np.partition(row, place)[place] for row, place in zip(rows, at.tolist())]
    return torch.from_numpy(np.array(found, rows.dtype))[:, None]


def _decayed(height: int, width: int, decay: float, device: torch.device | str | None) -> Tensor:
    """(height, width // 2 + 1) amplitude of every bin."""
    return frequencies(height, width, device).clamp_min(1 / max(height, width)) ** -decay
