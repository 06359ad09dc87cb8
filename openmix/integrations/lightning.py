"""Mixing in Lightning: a mixin for a `LightningModule`, and a callback for modules that stay as they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from openmix.errors import InputError
from openmix.integrations.transform import MixTransform, classes_of, policy_of_images
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext


def _callback() -> Any:
    for name in ('lightning.pytorch', 'pytorch_lightning'):
        try:
            return import_module(name).Callback
        except ImportError:
            continue
    raise InputError('openmix.integrations.lightning needs Lightning: pip install lightning')


class MixingMixin:
    """Mix training batches on the device: `class Mine(MixingMixin, LightningModule)` with `self.policy`.

    `training_step` gets `(images, labels, mix)` in place of `(images, labels)`; validation and test get their batches
    as they are.

    Attributes:
        policy: a policy of images.
    """

    policy: MixPolicy

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Mix a training batch of images (N, C, H, W), floating, and labels (N,) int64, (N, C) or of a regression.

        Raises:
            InputError: the batch has other entries, or `policy` does not mix images.
        """
        batch = super().on_after_batch_transfer(batch, dataloader_idx)  # type: ignore[misc]
        trainer: Any = self.trainer  # type: ignore[attr-defined]
        if not trainer.training:
            return batch
        policy_of_images(type(self).__name__, self.policy)
        if not isinstance(batch, (list, tuple)) or len(batch) != 2:
            raise InputError(f'{type(self).__name__}: a training batch must be (images, labels) to be mixed')
        images, labels = batch
        mixed, mix = self.policy(images, MixContext(images, classes_of(labels)))
        return mixed, labels, mix

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()  # type: ignore[misc]
        self.policy.before_epoch(self.current_epoch)  # type: ignore[attr-defined]


class MixCallback(_callback()):  # type: ignore[misc]
    """Mix the training batches of a module whose loss takes (N, C) soft labels, as `F.cross_entropy` does.

    The images and labels of the batch, a list or a dict as PyTorch's `default_collate` makes it, are replaced.

    Args:
        policy: a policy of images, or its registry dict.
        num_classes: C of int64 labels.

    Raises:
        InputError: it is no policy; or, in training, the batch is a tuple, in which nothing can be replaced.
    """

    def __init__(self, policy: MixPolicy | dict[str, Any], num_classes: int | None = None) -> None:
        super().__init__()
        self.transform = MixTransform(policy, num_classes=num_classes)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.transform.policy.before_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not isinstance(batch, (list, dict)):
            raise InputError(
                f'MixCallback: the batch is a {type(batch).__name__}, which cannot be changed; let the collate_fn '
                'return a list or dict, or take the MixingMixin'
            )
        mixed = self.transform(batch)
        for key in batch if isinstance(batch, dict) else range(len(batch)):
            batch[key] = mixed[key]
