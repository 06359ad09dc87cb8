"""The data preprocessor of detectors: images of several sizes become one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from openmix.errors import InputError
from openmix.models.preprocessor import check_statistics
from openmix.ops.batches import what
from openmix.registry import MODELS


@MODELS.register_module()
class DetectionPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, normalise its images, and pad them at the right and bottom to the largest of them.

    Padding is 0 after normalisation, the mean colour.

    Args:
        mean, std: one value per channel, for pixels in [0, 1]; by default a recipe takes them from its data set.

    Raises:
        InputError: mean and std do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(non_blocking=True)
        check_statistics('DetectionPreprocessor', mean, std)
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device of the buffers, which move together with a parent module."""
        return self.mean.device

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch for a detector.

        Args:
            data: `inputs`, a list of N images uint8 (3, H_i, W_i); other entries are only moved.
            training: ignored; images are augmented with their boxes when they are read.

        Returns:
            a new dict with `inputs` float32 (N, 3, H, W), and in `sizes` the N sizes (H_i, W_i) without padding.

        Raises:
            InputError: the batch has another structure.
        """
        images = data.get('inputs') if isinstance(data, Mapping) else None
        if not isinstance(images, list) or not images or not all(map(_is_image, images)):
            raise InputError(
                'DetectionPreprocessor: a batch must be a dict of inputs, a list of uint8 (3, H, W), got '
                f'{what(images)}; see docs/data.md, Boxes'
            )
        data = self.cast_data(data)
        images, sizes = data['inputs'], [(one.shape[1], one.shape[2]) for one in data['inputs']]
        height, width = (max(size[side] for size in sizes) for side in range(2))
        batch = self.mean.new_zeros(len(images), 3, height, width)
        for place, image, (h, w) in zip(batch, images, sizes):
            place[:, :h, :w] = (image.float() / 255 - self.mean) / self.std
        return {**data, 'inputs': batch, 'sizes': sizes}


def _is_image(one: object) -> bool:
    return isinstance(one, Tensor) and one.dim() == 3 and one.dtype == torch.uint8
