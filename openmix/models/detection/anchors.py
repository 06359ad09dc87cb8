"""Anchors as the protocols of detection transfer place them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class ExactAnchors(AnchorGenerator):
    """Anchors around (0, 0), (stride, 0), ... of exactly the given areas and aspect ratios.

    torchvision's are rounded to whole pixels, and their stride is the size of the padded image divided by that of the
    features, which is not the backbone's where a side is no multiple of it.

    Args:
        sizes: square roots of the areas, in pixels.
        ratios: height divided by width.
        stride: pixels of the image for one position of the features.
    """

    def __init__(self, sizes: Sequence[float], ratios: Sequence[float], stride: int) -> None:
        super().__init__((tuple(sizes),), (tuple(ratios),))
        self.stride = stride

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = 'cpu',
    ) -> Tensor:
        """Compute the anchors of one position, (ratios * sizes, 4), all sizes of the first ratio first."""
        sizes = torch.as_tensor(scales, dtype=dtype, device=device)
        height = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        widths, heights = ((factor[:, None] * sizes).flatten() for factor in (1 / height, height))
        return torch.stack([-widths, -heights, widths, heights], 1) / 2

    def forward(self, image_list: ImageList, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the anchors (h * w * ratios * sizes, 4) of each image, which are the same for all."""
        (features,) = feature_maps
        rows, columns = (torch.arange(n, device=features.device) * self.stride for n in features.shape[-2:])
        y, x = (shift.flatten() for shift in torch.meshgrid(rows, columns, indexing='ij'))
        anchors = torch.stack([x, y, x, y], 1)[:, None] + self.cell_anchors[0].to(features.device)
        return [anchors.view(-1, 4)] * len(image_list.image_sizes)
