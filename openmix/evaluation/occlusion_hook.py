"""The error of a classifier on images with missing patches, beside the metrics of a validation or test."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.evaluation.changed_images import ChangedImagesHook, Logits
from openmix.ops.occlusion import drop_orders, occlude, patch_side
from openmix.registry import HOOKS


@HOOKS.register_module()
class OcclusionHook(ChangedImagesHook):
    """Add the errors, in percent, on images of which random patches are black (Naseer et al., NeurIPS 2021).

    `occlusion/<share>` is that with this share of the patches missing, and `occlusion/error` the mean over the shares.
    The patches are drawn by an image's id, and those that miss at one share miss at larger ones too.

    Args:
        shares: parts of the patches that are dropped, in [0, 1].
        patch: side of a patch in pixels; None: see `openmix.ops.occlusion.patch_side`, 16 at 224 pixels.
        only_last: see `ChangedImagesHook`.

    Raises:
        InputError: there is no share, or a number is out of range.
    """

    def __init__(
        self,
        shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        patch: int | None = None,
        only_last: bool = False,
    ) -> None:
        super().__init__(only_last)
        if not shares or len(set(shares)) != len(shares):
            raise InputError(f'OcclusionHook: shares must be different numbers, at least one, got {list(shares)}')
        for share in shares:
            check_number('OcclusionHook: shares', share, 0.0, 1.0)
        if patch is not None:
            check_number('OcclusionHook: patch', patch, 1)
        self.shares, self.patch = tuple(float(share) for share in shares), patch

    def changed(self, logits_of: Logits, x: Tensor, y: Tensor, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
        height, width = x.shape[-2:]
        side = self.patch or patch_side(height, width)
        order = drop_orders(-(-height // side) * -(-width // side), ids.tolist()).to(x.device)
        for share in self.shares:
            yield f'{share:g}', occlude(x, side, order, share)

    def metrics(self, errors: Mapping[str, float]) -> dict[str, float]:
        named = {f'occlusion/{share}': error for share, error in errors.items()}
        return {**named, 'occlusion/error': statistics.fmean(errors.values())}
