"""Several views of each image of a batch, made in one pass on its device."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.registry import TRANSFORMS, TransformConfig, find


@TRANSFORMS.register_module()
class BatchMultiView(nn.Module):
    """Make views of each image by the same transforms with separate draws, all in one pass; must be the last transform.

    Turns (N, C, H, W) into (N, V, C, H', W').

    Args:
        transforms: batch transforms, in order.
        count: V.

    Raises:
        InputError: there is no transform, or fewer than two views; when called: the batch has views already.
    """

    def __init__(self, transforms: Sequence[TransformConfig | nn.Module], count: int = 2) -> None:
        super().__init__()
        check_number('BatchMultiView: count', count, 2, 64)
        if isinstance(transforms, str) or not isinstance(transforms, Sequence) or not transforms:
            raise InputError('BatchMultiView: transforms must name at least one transform')
        self.transforms, self.count = nn.Sequential(*map(_build, transforms)), count

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, V, C, H', W') in the same dtype."""
        if x.dim() != 4:
            raise InputError(f'BatchMultiView takes images (N, C, H, W), got {tuple(x.shape)}')
        views = self.transforms(x.repeat_interleave(self.count, 0))
        return views.unflatten(0, (len(x), self.count))


def _build(step: TransformConfig | nn.Module) -> nn.Module:
    if isinstance(step, nn.Module):
        return step
    find(TRANSFORMS, step.get('type'))
    return TRANSFORMS.build(step)
