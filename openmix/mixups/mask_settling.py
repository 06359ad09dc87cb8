"""What happens to a predicted mask before a batch is mixed with it: smoothing, adjusting, plain interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import check_number, check_range
from openmix.mixups.mix_block import adjust_mask


class MaskSettling(NamedTuple):
    """Change masks that only mix, and are not trained on; the steps follow each other in this order.

    Attributes:
        smoothing: lowest and highest width of a Gaussian, in pixels, drawn for the batch; None: masks stay sharp.
        adjust_prob: probability that a mask is rescaled so that its mean is lam.
        adjust_margin: masks whose mean is this close to lam are not rescaled.
        lam_margin: pairs with min(lam, 1 - lam) up to this value are interpolated without a mask.
        share: 'sample' or 'batch': how often the draw of `adjust_prob` is made.
    """

    smoothing: tuple[float, float] | None = None
    adjust_prob: float = 0.0
    adjust_margin: float = 0.0
    lam_margin: float = 0.0
    share: str = 'sample'

    def __call__(self, mask: Tensor, lam: Tensor, plain: Tensor | None = None) -> Tensor:
        """Return the changed masks (N, 1, H, W).

        Args:
            mask: (N, 1, H, W) in [0, 1].
            lam: (N,).
            plain: (N,) bool, further pairs that are interpolated.
        """
        if self.smoothing is not None:
            # Drawn on the CPU, since the size of the kernel follows from it.
            low, high = self.smoothing
            mask = smooth_mask(mask, low + (high - low) * float(torch.rand(())))
        if self.adjust_prob > 0:
            drawn = torch.rand(1 if self.share == 'batch' else len(lam), 1, 1, 1, device=lam.device)
            mask = torch.where(drawn < self.adjust_prob, adjust_mask(mask, lam, self.adjust_margin), mask)
        if self.lam_margin > 0:
            near = torch.minimum(lam, 1 - lam) <= self.lam_margin
            plain = near if plain is None else plain | near
        if plain is not None:
            mask = torch.where(plain[:, None, None, None], lam[:, None, None, None], mask)
        return mask


def settling(
    name: str,
    smoothing: Sequence[float] | None,
    adjust_prob: float,
    adjust_margin: float,
    lam_margin: float,
    share: str,
) -> MaskSettling:
    """Make a `MaskSettling` of a policy's options.

    Raises:
        InputError: one is out of range; the line begins with `name`.
    """
    check_number(f'{name}: adjust_prob', adjust_prob, 0.0, 1.0)
    check_number(f'{name}: adjust_margin', adjust_margin, 0.0, 1.0)
    check_number(f'{name}: lam_margin', lam_margin, 0.0, 0.5)
    between = None
    if smoothing is not None:
        check_range(f'{name}: smoothing', smoothing, 0.0, 1000.0)
        between = (float(smoothing[0]), float(smoothing[1]))
    return MaskSettling(between, adjust_prob, adjust_margin, lam_margin, share)


def smooth_mask(mask: Tensor, sigma: float) -> Tensor:
    """Smooth masks (N, 1, H, W) by a Gaussian of width `sigma` in pixels, which is cut at 2.5 sigma.

    *Differs from the released code* of Automatic Mixup's authors, which fills up with 0 beyond the border, so that the
    partner shows there: the border is repeated.
    """
    radius = int(2.5 * sigma)
    if not radius:
        return mask
    places = torch.arange(-radius, radius + 1, device=mask.device, dtype=mask.dtype)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(mask, (radius,) * 4, mode='replicate')
    # The sum of the kernel is 1 but for rounding.
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).clamp(0, 1)
