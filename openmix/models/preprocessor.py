"""The data preprocessor: augment and normalise the loader's uint8 batch on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from openmix.batch import Batch, pools_of
from openmix.errors import InputError, check_number
from openmix.ops.batches import check_labels, what
from openmix.registry import MODELS, TRANSFORMS, TransformConfig, find

# A list of transforms in order; `Pipelines` may also be one such list per view.
Pipeline = Sequence[TransformConfig | nn.Module]
Pipelines = Pipeline | Sequence[Pipeline]
Images = Tensor | list[Tensor]


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, augment it in training, scale it to [0, 1] and normalise it.

    Images stay uint8 during the copy to the device and the augmentation.

    Args:
        mean, std: one value per channel, for pixels in [0, 1]; by default a recipe takes them from its data set.
        augment: batch transforms as registry dicts or modules, in order; training only. A list of V such lists makes
            V views of each image, or augments the V views that a batch already has; views of different sizes are
            returned as a list. A dict has the transforms of each pool of a batch; otherwise all pools share them.
        channels_last: return images in channels-last memory format.

    Attributes:
        num_classes: C, set by the model or by `limit_labels`; labels are compared with it while they are on the CPU.

    Raises:
        InputError: mean and std do not fit, or a transform's name or argument is unknown.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Pipelines | Mapping[str, Pipelines] = (),
        channels_last: bool = False,
    ) -> None:
        super().__init__(non_blocking=True)
        check_statistics('ImagePreprocessor', mean, std)
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        if isinstance(augment, Mapping) and 'type' in augment:
            raise InputError('ImagePreprocessor: augment must be a list of transforms, or a dict of one a pool')
        self.augment = (
            nn.ModuleDict({name: _build_views(steps) for name, steps in augment.items()})
            if isinstance(augment, Mapping)
            else _build_views(augment)
        )
        self.channels_last = channels_last
        self.num_classes: int | None = None

    @property
    def device(self) -> torch.device:
        """The device of the buffers, which move together with a parent module."""
        return self.mean.device

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move a batch to the device and prepare its images for the model.

        Args:
            data: `inputs` (N, C, H, W), or (N, V, C, H, W) with V views of each image, or a list of V tensors
                (N, C, H_v, W_v), uint8 or floating point in [0, 1]; other entries, such as `labels` and `ids`, are
                only moved. Or a dict of such batches, one per pool.
            training: augment the images.

        Returns:
            A new dict with the same keys; `inputs` is float32 and normalised.

        Raises:
            InputError: the batch has another structure, a label is not a class of the model, or `augment` is for
                other pools or another number of views.
        """
        for pool, batch in pools_of(data).items():
            _check_batch(batch, pool)
            for key in ('labels', 'true_labels'):
                if isinstance(batch.get(key), Tensor):
                    # On a GPU, a label out of range would make every later operation fail.
                    where = ('the data' if key == 'labels' else f"'{key}' of the data") + (
                        f", pool '{pool}'" if pool else ''
                    )
                    check_labels(where, batch[key], self.num_classes)
        pools = pools_of(self.cast_data(data))
        if training and isinstance(self.augment, nn.ModuleDict) and set(self.augment) != set(pools):
            has = f'has {", ".join(pools)}' if '' not in pools else 'has none'
            raise InputError(
                f'ImagePreprocessor: augment is for the pools {", ".join(self.augment)}, and the batch {has}; '
                'give a list for each, or [] for a pool that stays as it is'
            )
        ready = {pool: self._ready(batch, pool, training) for pool, batch in pools.items()}
        return ready.get('', ready)

    def _ready(self, batch: Batch, pool: str, training: bool) -> Batch:
        x: Images = batch['inputs']
        if training:
            x = _augmented(self.augment[pool] if isinstance(self.augment, nn.ModuleDict) else self.augment, x)
        return {**batch, 'inputs': [self._scaled(one) for one in x] if isinstance(x, list) else self._scaled(x)}

    def _scaled(self, x: Tensor) -> Tensor:
        scaled = to_pixels(x)
        # As `normalize`, but in place unless the tensor is the caller's: half the time for a large batch on the CPU.
        x = self.normalize(x) if scaled is x else scaled.sub_(self.mean).div_(self.std)
        return self._in_format(x)

    def _in_format(self, x: Tensor) -> Tensor:
        if self.channels_last:
            # The memory format is defined for four dimensions, so the dimension of views is folded into the batch.
            x = x.flatten(0, -4).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:-3])
        return x

    def network_input(self, pixels: Tensor) -> Tensor:
        """Compute what the network reads from (..., C, H, W) pixels in [0, 1]; gradients pass."""
        return self._in_format(self.normalize(pixels))

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalise (..., C, H, W) pixels in [0, 1] by mean and std."""
        return (pixels - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """Invert `normalize`."""
        return x * self.std + self.mean


def to_pixels(x: Tensor) -> Tensor:
    """Scale uint8 images to float32 pixels in [0, 1]; those in floating point are pixels already."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def check_statistics(name: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise an `InputError` that begins with `name` unless mean and std are one number a channel, std above 0."""
    for which, values, low in (('mean', mean, -math.inf), ('std', std, 0.0)):
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise InputError(f'{name}: {which} must be a list of numbers, got {values!r}')
        for value in values:
            check_number(f'{name}: every number of {which}', value, low, above=True)
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise InputError(f'{name}: needs one mean and one std > 0 a channel, got {mean} and {std}')


def _augmented(augment: nn.Module, x: Images) -> Images:
    """Augment images or views; one pipeline treats every view with its own draws, a list has a pipeline per view."""
    if isinstance(augment, nn.ModuleList):
        count = len(x) if isinstance(x, list) else x.shape[1] if x.ndim == 5 else len(augment)
        if count != len(augment):
            raise InputError(f'ImagePreprocessor: augment makes {len(augment)} views, and the batch has {count}')
        given = x if isinstance(x, list) else x.unbind(1) if x.ndim == 5 else [x] * count
        views = [pipeline(one) for pipeline, one in zip(augment, given)]
        return torch.stack(views, 1) if len({view.shape for view in views}) == 1 else views
    if isinstance(x, list):
        return [augment(one) for one in x]
    return augment(x) if x.ndim == 4 else augment(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _count(inputs: Any) -> int | None:
    """Return N if `inputs` has one of the forms of a plain batch; else None."""
    if isinstance(inputs, Tensor):
        return len(inputs) if inputs.ndim in (4, 5) else None
    views = inputs if isinstance(inputs, list) else []
    found = {len(view) if isinstance(view, Tensor) and view.ndim == 4 else None for view in views}
    return found.pop() if len(found) == 1 else None


def _check_batch(data: Any, pool: str) -> None:
    inputs = data.get('inputs') if isinstance(data, Mapping) else None
    if (count := _count(inputs)) is not None:
        known = [data.get(key) for key in ('labels', 'true_labels')]
        ids = data.get('ids')
        if all(y is None or (isinstance(y, Tensor) and y.shape[:1] == (count,)) for y in known) and (
            ids is None or (isinstance(ids, Tensor) and ids.shape == (count,))
        ):
            return
    if isinstance(data, Mapping):
        got = ', '.join(f'{key}: {what(value)}' for key, value in list(data.items())[:6])
        got = f'a dict of {got}' if got else 'an empty dict'
    else:
        got = f'a {type(data).__name__}'
        if isinstance(data, Sequence) and not isinstance(data, str):
            got += f' of {", ".join(what(value) for value in data[:3])}'
    if pool:
        raise InputError(
            f"the pool '{pool}' of a batch must be a dict of inputs (N, 3, H, W), ids (N,), the places of the samples, "
            f'and labels (N,) where they are learned from, got {got}'
        )
    raise InputError(
        'a batch must be a dict of inputs (N, 3, H, W), labels (N,) and ids (N,), the places of the samples, got '
        f'{got}; let the data set answer {{"inputs": image, "labels": label, "ids": index}}, and the loader collate '
        "by 'identity_collate' (docs/data.md, A data set of one's own)"
    )


def _build_views(steps: Pipelines) -> nn.Module:
    """Build a list of transforms, or a list of such lists, one per view."""
    views = [step for step in steps if isinstance(step, (list, tuple))]
    single = [step for step in steps if isinstance(step, (dict, nn.Module))]
    if isinstance(steps, Mapping) or len(steps) not in (len(views), len(single)):
        raise InputError('ImagePreprocessor: augment must be a list of transforms, or one of such lists, one a view')
    if views:
        return nn.ModuleList(nn.Sequential(*map(_build, view)) for view in views)
    return nn.Sequential(*map(_build, single))


def _build(step: dict | nn.Module) -> nn.Module:
    if isinstance(step, nn.Module):
        return step
    if not isinstance(step, dict):
        raise InputError(f'ImagePreprocessor: augment: a transform must be a dict with a type, got {what(step)}')
    find(TRANSFORMS, step.get('type'))
    try:
        return TRANSFORMS.build(step)
    except TypeError as error:
        raise InputError(f'{step["type"]}: {error}') from error
