"""The data preprocessor: augment and normalise the loader's uint8 batch on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.ops.batches import check_labels, what
from openmix.registry import MODELS, TRANSFORMS, TransformConfig, find


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, augment it in training, scale it to [0, 1] and normalise it.

    Images stay uint8 during the copy to the device and the augmentation.

    Args:
        mean, std: one value per channel, for pixels in [0, 1]; by default a recipe takes them from its data set.
        augment: batch transforms as registry dicts or modules, in order; training only.
        channels_last: return images in channels-last memory format.

    Attributes:
        num_classes: C, set by the model; labels are compared with it while they are on the CPU.

    Raises:
        InputError: mean and std do not fit, or a transform's name or argument is unknown.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Sequence[TransformConfig | nn.Module] = (),
        channels_last: bool = False,
    ) -> None:
        super().__init__(non_blocking=True)
        for which, values, low in (('mean', mean, -math.inf), ('std', std, 0.0)):
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise InputError(f'ImagePreprocessor: {which} must be a list of numbers, got {values!r}')
            for value in values:
                check_number(f'ImagePreprocessor: every number of {which}', value, low, above=True)
        if len(mean) != len(std) or len(mean) not in (1, 3):
            raise InputError(f'ImagePreprocessor: needs one mean and one std > 0 a channel, got {mean} and {std}')
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.augment = nn.Sequential(*(_build(step) for step in augment))
        self.channels_last = channels_last
        self.num_classes: int | None = None

    @property
    def device(self) -> torch.device:
        """The device of the buffers, which move together with a parent module."""
        return self.mean.device

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move a batch to the device and prepare its images for the model.

        Args:
            data: `inputs` (N, C, H, W), or (N, V, C, H, W) with V views of each image, uint8 or floating point
                in [0, 1]; other entries, such as `labels` and `ids`, are only moved.
            training: augment the images.

        Returns:
            A new dict with the same keys; `inputs` is float32 and normalised.

        Raises:
            InputError: the batch has another structure, or a label is not a class of the model.
        """
        _check_batch(data)
        if isinstance(data.get('labels'), Tensor):
            # On a GPU a label out of range would abort every later operation.
            check_labels('the data', data['labels'], self.num_classes)
        data = self.cast_data(data)
        x = data['inputs']
        if training:
            x = self.augment(x)
        scaled = x.float().div_(255) if x.dtype == torch.uint8 else x
        # As `normalize`, but in place unless the tensor is the caller's: half the time for a large batch on the CPU.
        x = self.normalize(x) if scaled is x else scaled.sub_(self.mean).div_(self.std)
        if self.channels_last:
            # The memory format is defined for four dimensions, so the dimension of views is folded into the batch.
            x = x.flatten(0, -4).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:-3])
        return {**data, 'inputs': x}

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalise (..., C, H, W) pixels in [0, 1] by mean and std."""
        return (pixels - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """Invert `normalize`."""
        return x * self.std + self.mean


def _check_batch(data: Any) -> None:
    inputs = data.get('inputs') if isinstance(data, Mapping) else None
    if isinstance(inputs, Tensor) and inputs.ndim in (4, 5):
        labels, ids = data.get('labels'), data.get('ids')
        if (labels is None or (isinstance(labels, Tensor) and labels.shape[:1] == inputs.shape[:1])) and (
            ids is None or (isinstance(ids, Tensor) and ids.shape == inputs.shape[:1])
        ):
            return
    if isinstance(data, Mapping):
        got = ', '.join(f'{key}: {what(value)}' for key, value in list(data.items())[:6])
        got = f'a dict of {got}' if got else 'an empty dict'
    else:
        got = f'a {type(data).__name__}'
        if isinstance(data, Sequence) and not isinstance(data, str):
            got += f' of {", ".join(what(value) for value in data[:3])}'
    raise InputError(
        'a batch must be a dict of inputs (N, 3, H, W), labels (N,) and ids (N,), the places of the samples, got '
        f'{got}; let the data set answer {{"inputs": image, "labels": label, "ids": index}}, and the loader collate '
        "by 'identity_collate' (docs/data.md, A data set of one's own)"
    )


def _build(step: dict | nn.Module) -> nn.Module:
    if not isinstance(step, dict):
        return step
    find(TRANSFORMS, step.get('type'))
    try:
        return TRANSFORMS.build(step)
    except TypeError as error:
        raise InputError(f'{step["type"]}: {error}') from error
