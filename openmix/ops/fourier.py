"""Random low-frequency fields and masks, drawn in Fourier space (FMix)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openmix.ops.masks import as_shares

# Up to this many values per row, sorting the whole tensor is faster than one partition call per row.
_SORTED = 2048


def frequencies(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """Compute (height, width // 2 + 1) float32 frequencies |f| of a real 2-D FFT's bins, in cycles per pixel."""
    rows = torch.fft.fftfreq(height, device=device)
    columns = torch.fft.rfftfreq(width, device=device)
    return torch.hypot(rows[:, None], columns)


def low_pass_field(n: int, height: int, width: int, decay: float, device: torch.device | str | None = None) -> Tensor:
    """Draw (n, height, width) float32 random fields whose amplitude falls as |f| ** -decay in every direction.

    FMix, section 4: a complex normal spectrum is divided by max(|f|, 1 / max(height, width)) ** decay and
    transformed back; the field is the real part. Only the order of a field's values is used, not their scale.
    """
    scale = _decayed(height, width, decay, device)
    # Only in these columns does the half spectrum hold both bins of a wave, so taking the real part halves
    # the power.
    scale[:, 0] *= 2**0.5
    if width % 2 == 0:
        scale[:, -1] *= 2**0.5
    noise = torch.view_as_complex(torch.randn(n, *scale.shape, 2, device=device))
    return to_pixels(noise * scale, height, width)


def two_harmonics_field(
    n: int, height: int, width: int, decay: float, device: torch.device | str | None = None
) -> Tensor:
    """Draw (n, height, width) float32 fields as the official FMix code does, with two harmonics along the width.

    That code reads the real and imaginary parts of the spectrum from its frequency rows 0 and 1 instead
    of from the last axis. The result has one row per horizontal frequency and two columns, and is padded
    or cropped to the size of the image. A field therefore varies strongly along its height, but only as a
    constant plus one wave along its width.
    """
    scale = _decayed(height, width, decay, device)
    bins = scale.shape[1]
    # A spectrum of one row has no second row to be read as the imaginary part, which is then zero.
    two_rows = torch.nn.functional.pad(scale[:2], (0, 0, 0, max(0, 2 - height)))
    misread = torch.randn(n, 2, bins, 2, device=device) * two_rows[..., None]
    spectrum = torch.complex(misread[:, 0], misread[:, 1])
    padding = (0, max(0, bins - 2), 0, max(0, height - bins))
    spectrum = torch.nn.functional.pad(spectrum, padding)[:, :height, :bins]
    return to_pixels(spectrum, height, width)


def to_pixels(spectrum: Tensor, height: int, width: int) -> Tensor:
    """Transform (N, height, width // 2 + 1) complex half spectra, of any symmetry, to (N, height, width) fields."""
    # The copy makes rows contiguous: the second transform is slower on strided rows.
    columns = torch.fft.ifft(spectrum, dim=1).clone(memory_format=torch.contiguous_format)
    parts = torch.view_as_real(columns)
    # The constant bin and, at even width, the last bin must be real; FFT libraries treat an imaginary part
    # there differently.
    parts[:, :, 0, 1].zero_()
    if width % 2 == 0:
        parts[:, :, -1, 1].zero_()
    return torch.fft.irfft(columns, n=width, dim=2)


def top_share(field: Tensor, share: Tensor) -> Tensor:
    """Make an (N, 1, H, W) bool mask that is true at the share * H * W largest pixels of each field.

    A pixel count that is not an integer is rounded up or down with probability one half each.

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
        # Without ties, which are rare, one comparison is enough; NumPy's is faster than torch's.
        chosen = torch.from_numpy(field.numpy() >= least.masked_fill(count[:, None] == 0, torch.inf).numpy())
        if (as_shares(chosen).sum(1) == count).all():
            return chosen.view(n, 1, height, width)
    above, level = field > least, field == least
    # Break ties at the threshold in favour of the first pixels.
    spare = count[:, None] - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1, dtype=torch.int32) <= spare))
    return chosen.view(n, 1, height, width)


def _at_place(field: Tensor, at: Tensor) -> Tensor:
    """Select (N, 1) from `field` (N, M) the value with rank at[n] (N,), counted from 0, in row n in ascending order."""
    if not field.is_cpu:
        return field.sort(1).values.gather(1, at[:, None])
    # NumPy's sort and partition use vector instructions and are ten times faster than torch's.
    rows = field.numpy()
    if field.shape[1] <= _SORTED:
        return torch.from_numpy(np.sort(rows, axis=1)).gather(1, at[:, None])
    found = [np.partition(row, place)[place] for row, place in zip(rows, at.tolist())]
    return torch.from_numpy(np.array(found, rows.dtype))[:, None]


def _decayed(height: int, width: int, decay: float, device: torch.device | str | None) -> Tensor:
    """Compute the (height, width // 2 + 1) amplitude of every frequency bin."""
    return frequencies(height, width, device).clamp_min(1 / max(height, width)) ** -decay
