"""SMMix (Chen et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_range
from openmix.mix import Mix
from openmix.mixups.context import MixContext
from openmix.mixups.patch_attention import AttendedPolicy
from openmix.ops.boxes import box_mask, shifted
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


def window_sums(values: Tensor, sizes: Tensor) -> Tensor:
    """Sum (N, h, w) values over every window of a size (N, 2) of its own; return (N, h, w) by first row and column.

    A window that goes beyond the map is NaN.
    """
    n, height, width = values.shape
    total = torch.zeros(n, height + 1, width + 1, dtype=torch.float64, device=values.device)
    total[:, 1:, 1:] = values.double().cumsum(1).cumsum(2)
    low_row = torch.arange(height, device=values.device).expand(n, height)
    low_column = torch.arange(width, device=values.device).expand(n, width)
    high_row, high_column = low_row + sizes[:, :1], low_column + sizes[:, 1:]
    every = torch.arange(n, device=values.device)[:, None, None]

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        return total[every, rows.clamp_max(height)[:, :, None], columns.clamp_max(width)[:, None, :]]

    sums = at(high_row, high_column) - at(low_row, high_column) - at(high_row, low_column) + at(low_row, low_column)
    inside = (high_row <= height)[:, :, None] & (high_column <= width)[:, None, :]
    return sums.where(inside, float('nan'))


def place_of(sums: Tensor, largest: bool) -> Tensor:
    """Return the (N, 2) int64 first row and column of the window with the largest, or the smallest, sum (N, h, w)."""
    worst = float('-inf') if largest else float('inf')
    flat = sums.nan_to_num(worst, worst, worst).flatten(1)
    first = flat.argmax(1) if largest else flat.argmin(1)
    return torch.stack([first // sums.shape[2], first % sums.shape[2]], 1)


@MIXUPS.register_module()
class SMMix(AttendedPolicy):
    """Paste the partner's region of most attention over the sample's region of least attention.

    The attention is that of the clean images in the last block of the trained network, in evaluation mode: the mean
    over heads and over all patches of what they take from each patch. Regions are windows of whole patches, of one size
    in both images, whose side is uniform between two fractions of the image's. The label share is the share of pixels
    kept. The policy mixes images only.

    *Differs from the paper*: this is its max-min attention region mixing alone. Its two further losses are not
    computed: the fine-grained label assignment, which classifies the averages of the output tokens of either image's
    part, and the consistency with the predictions for the clean images. Every sample has its own size of the region
    (`share='batch'`: one a batch).

    Args:
        share: 'sample' draws a size for every sample; 'batch' one for the batch, as published.
        sides: least and largest side of the region as a fraction of the image's.
        site: name of the attention module, such as 'blocks.11.attn'; None: that of the last attention map.

    Raises:
        InputError: an option is out of range; in forward, no context, one without a transformer, or images that its
            patches do not divide.
    """

    published = {'share': 'batch'}

    def __init__(self, share: str = 'sample', sides: Sequence[float] = (0.25, 0.75), site: str | None = None) -> None:
        super().__init__()
        check_choice('SMMix: share', share, ('sample', 'batch'))
        check_range('SMMix: sides', sides, 0.0, 1.0)
        self.set_site(site)
        self.share, self.sides = share, (float(sides[0]), float(sides[1]))

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        context = self.asked(context, z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        taken = self.patches(context, by='patches')
        rows, columns = taken.shape[1:]
        if height % rows or width % columns:
            raise InputError(f'SMMix: {rows} x {columns} patches do not divide images of {height} x {width}')
        sizes = self.draw_sizes(1 if self.share == 'batch' else n, rows, columns, z.device).expand(n, 2)

        def in_pixels(patches: Tensor) -> Tensor:
            return torch.stack([patches[:, 0] * (height // rows), patches[:, 1] * (width // columns)], 1)

        salient = place_of(window_sums(taken[partner], sizes), largest=True)
        place = place_of(window_sums(taken[:n], sizes), largest=False)
        mask = as_shares(~box_mask(in_pixels(place), in_pixels(place + sizes), height, width))
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z, shifted(z, partner, in_pixels(salient - place))), mix

    def draw_sizes(self, n: int, rows: int, columns: int, device: torch.device) -> Tensor:
        """Draw (n, 2) int64 heights and widths of regions on a grid; the height is uniform between the bounds."""
        low, high = (max(1, int(side * rows)) for side in self.sides)
        height = torch.randint(low, high + 1, (n,), device=device)
        width = (height * columns + rows // 2) // rows
        return torch.stack([height, width.clamp_min(1)], 1)

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "attention" and "partner's attention", (N, 1, h, w) each."""
        taken = self.patches(context, by='patches')
        return {'attention': taken[: len(mix.partner), None], "partner's attention": taken[mix.partner, None]}
