"""Ten-crop evaluation: four corners, the centre, and their mirror images (Krizhevsky et al., NeurIPS 2012)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import five_crop

from openmix.data.pipeline import build_pipeline, kept_generators, run_pipeline
from openmix.errors import InputError

_CROP = 'torchvision/CenterCrop'
# One landscape and one portrait image: after a resize of the shorter side, both have that side in common.
_BLANKS = ((1000, 600), (700, 900))


class TenCrop(BaseModel):
    """Predict with the mean of the softmax probabilities of ten crops of every image.

    The crops are evaluated one after the other, so memory is that of a single crop.

    Args:
        model: classifier whose mode 'predict' returns a list with one dict of `logits` and `others`.
        size: (H, W) of a crop.

    Attributes:
        crops: 10.
    """

    crops = 10

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        super().__init__(data_preprocessor=model.data_preprocessor)
        self.model, self.size = model, size

    def forward(
        self, inputs: Tensor, labels: Tensor | None = None, ids: Tensor | None = None, mode: str = 'tensor'
    ) -> Any:
        """Run on a preprocessed batch.

        Args:
            inputs: (N, 3, H, W) normalised images, at least as large as a crop.
            labels: (N,) int64.
            ids: (N,) int64.
            mode: 'tensor' returns (N, C) logarithms of the mean probabilities; 'predict' returns a list with
                one dict as the model does, with all logits replaced by such logarithms.
        """
        if mode not in ('tensor', 'predict'):
            raise InputError(f"TenCrop: mode must be 'tensor' or 'predict', got {mode!r}")
        sums: dict[str, Tensor] = {}
        # Not torchvision's ten_crop: where the margin is odd, its mirrored centre crop is another crop.
        five = five_crop(inputs, list(self.size))
        for crop in (*five, *(crop.flip(-1) for crop in five)):
            (answer,) = self.model(crop, mode='predict')
            for name, logits in {'': answer['logits'], **answer['others']}.items():
                # Averaged as logarithms: the logarithm of a mean that underflows would be infinite.
                found = logits.float().log_softmax(1)
                sums[name] = torch.logaddexp(sums[name], found) if name in sums else found
        means = {name: total - math.log(self.crops) for name, total in sums.items()}
        logits = means.pop('')
        return logits if mode == 'tensor' else [dict(logits=logits, others=means, labels=labels, ids=ids)]


def before_crop(dataset: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, int]]:
    """Enlarge the final centre crop of a test data set to the whole centre square; also return the crop's (H, W).

    A pipeline that resizes the shorter side to s and crops the centre then returns s x s pixels.

    Args:
        dataset: registry dict with a pipeline that ends with torchvision's CenterCrop.

    Raises:
        InputError: there is no such pipeline, or the square is not larger than the crop.
    """
    *steps, last = dataset.get('pipeline') or [{}]
    remedy = f'end test_dataloader.dataset.pipeline with a resize to one side and a smaller {_CROP}'
    if last.get('type') != _CROP:
        raise InputError(f'ten crops need images larger than a crop, {dataset.get("type")} serves them whole; {remedy}')
    crop: Any = build_pipeline([last])[0]
    height, width = crop.size
    sides = set()
    with kept_generators():
        for blank in _BLANKS:
            sides.add(min(run_pipeline(build_pipeline(steps), Image.new('RGB', blank)).shape[-2:]))
    if len(sides) > 1:
        raise InputError(f'ten crops need a shorter side that all images share; {remedy}')
    (side,) = sides
    if side < max(height, width) or side == height == width:
        raise InputError(f'ten crops of {height}x{width} do not differ on images of {side}x{side}; {remedy}')
    return {**dataset, 'pipeline': [*steps, {'type': _CROP, 'size': side}]}, (height, width)
