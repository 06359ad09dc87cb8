"""`MixTransform`: any policy with the signature of torchvision's v2 MixUp and CutMix, also as `collate_fn`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision import tv_tensors

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.ops.batches import what
from openmix.registry import MIXUPS, find

_REFUSED = (tv_tensors.BoundingBoxes, tv_tensors.Mask)


class MixTransform(nn.Module):
    """Mix the images of a batch and its labels, as a transform of batches or as the `collate_fn` of a loader.

    Args:
        policy: a policy that mixes images, or its registry dict.
        num_classes: C of int64 labels, for `target='soft'`; floating labels, of several classes or of a regression, are
            mixed as they are.
        labels_getter: 'default': the second entry of (images, labels), or the one entry of a dict whose key has 'label'
            in it; or a function of the batch that returns its labels; None: there are no labels.
        target: 'soft' replaces the labels by mixed ones, (N, C) float32; 'mix' keeps them, and adds the `Mix` for a
            loss of (logits, labels, mix): a third entry of a tuple or list, or the key 'mix' of a dict.
        mean, std: (C,) normalisation of the images, for policies that look at pixels; None: images are in [0, 1].

    Raises:
        InputError: it is no policy, it mixes hidden features, it trains on the clean images too, or an argument is
            unknown.
    """

    def __init__(
        self,
        policy: MixPolicy | dict[str, Any],
        *,
        num_classes: int | None = None,
        labels_getter: Callable[[Any], Tensor] | str | None = 'default',
        target: str = 'soft',
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy_of_images('MixTransform', policy)
        check_choice('MixTransform: target', target, ('soft', 'mix'))
        if num_classes is not None:
            check_number('MixTransform: num_classes', num_classes, 1)
        if not (labels_getter is None or labels_getter == 'default' or callable(labels_getter)):
            raise InputError(f"MixTransform: labels_getter is 'default', None or a function, got {labels_getter!r}")
        if target == 'mix' and labels_getter is None:
            raise InputError("MixTransform: target='mix' keeps labels, and labels_getter=None says that there are none")
        self.num_classes, self.labels_getter, self.target = num_classes, labels_getter, target
        self.mean, self.std = (None if one is None else torch.tensor(one) for one in (mean, std))

    def forward(self, *inputs: Any) -> Any:
        """Mix a batch.

        Args:
            inputs: images and labels, or one tuple, list or dict with them; or a list of samples, as a loader gives it
                to its `collate_fn`. Images are (N, C, H, W), floating or uint8.

        Returns:
            the same structure, see `target`; images keep their dtype and class.

        Raises:
            InputError: there is not one batch of images, or there are labels that cannot be mixed.
        """
        batch: Any = inputs if len(inputs) > 1 else inputs[0]
        if _are_samples(batch):
            batch = default_collate(batch)
        entries = dict(batch) if isinstance(batch, Mapping) else dict(enumerate(_entries(batch)))
        labels = self._labels(batch, entries)
        image = _image(entries, labels)
        x = entries[image]
        y: Any = None if labels is None else entries[labels]
        mixed, mix = self._mixed(x, y)
        entries[image] = mixed
        if labels is not None and self.target == 'soft':
            entries[labels] = mix.soft_labels(y, None if y.is_floating_point() else self._classes())
        elif labels is not None:
            entries['mix' if isinstance(batch, Mapping) else len(entries)] = mix
        if isinstance(batch, Mapping):
            return entries
        return tuple(entries.values()) if isinstance(batch, tuple) else list(entries.values())

    def _mixed(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Mix]:
        pixels = x.as_subclass(Tensor)
        z = pixels if pixels.is_floating_point() else pixels.float() / 255
        mean, std = (None if one is None else one.to(z.device) for one in (self.mean, self.std))
        context = MixContext(z, classes_of(y), mean=mean, std=std)
        mixed, mix = self.policy(z, context)
        if not pixels.is_floating_point():
            mixed = (mixed * 255).round().clamp(0, 255).to(pixels.dtype)
        return (tv_tensors.wrap(mixed, like=x) if isinstance(x, tv_tensors.TVTensor) else mixed), mix

    def _classes(self) -> int:
        if self.num_classes is None:
            raise InputError("MixTransform: int64 labels need num_classes, or target='mix'")
        return self.num_classes

    def _labels(self, batch: Any, entries: dict[Any, Any]) -> Any:
        """Return the key of the labels; None: there are none."""
        if self.labels_getter is None:
            return None
        if callable(self.labels_getter):
            wanted = self.labels_getter(batch)
            found = [key for key, value in entries.items() if value is wanted]
        elif isinstance(batch, Mapping):
            found = [key for key in entries if 'label' in str(key).lower()]
        else:
            found = [1] if len(entries) > 1 else []
        labels = entries[found[0]] if len(found) == 1 else None
        if not isinstance(labels, Tensor) or (labels.dim() > 2 and not callable(self.labels_getter)):
            names = ', '.join(map(str, entries))
            raise InputError(
                f'MixTransform: the labels are not one tensor of the batch ({names}); give a labels_getter'
            )
        return found[0]


def classes_of(y: Any) -> Tensor | None:
    """Return the labels for a policy that asks for them, (N,) int64 or (N, C); None for targets of a regression."""
    return y if isinstance(y, Tensor) and y.dim() == 1 + y.is_floating_point() else None


def policy_of_images(name: str, policy: Any) -> MixPolicy:
    """Return a policy, built from its registry dict if it is one, that mixes images and needs no training of its own.

    Raises:
        InputError: it is no policy, mixes hidden features or trains on the clean images too; the line begins with
            `name`.
    """
    if isinstance(policy, dict):
        find(MIXUPS, policy.get('type'))
        policy = MIXUPS.build(policy)
    if not isinstance(policy, MixPolicy):
        raise InputError(f'{name}: policy must be a policy or its registry dict, dict(type=...), got {what(policy)}')
    if policy.all_sites() != {''}:
        raise InputError(f'{name}: {type(policy).__name__} mixes features of a network, and a loader has only images')
    for one in policy.modules():
        if isinstance(one, MixPolicy) and one.clean_weight:
            raise InputError(
                f'{name}: {type(one).__name__} adds the loss of the clean images, which are not there any more; '
                'call it in a loop of your own, or train with openmix'
            )
    return policy


def _are_samples(batch: Any) -> bool:
    if not isinstance(batch, list) or not batch:
        return False
    return isinstance(batch[0], (tuple, list, Mapping)) or (
        all(isinstance(one, Tensor) and one.dim() == 3 for one in batch)
    )


def _entries(batch: Any) -> Sequence[Any]:
    return batch if isinstance(batch, (tuple, list)) else [batch]


def _image(entries: dict[Any, Any], labels: Any) -> Any:
    for value in entries.values():
        if isinstance(value, _REFUSED):
            raise InputError(f'MixTransform: a batch with {type(value).__name__} is not mixed; mix images and labels')
    found = [k for k, value in entries.items() if isinstance(value, Tensor) and value.dim() >= 4 and k != labels]
    if len(found) != 1:
        shown = ', '.join(f'{key}: {what(value)}' for key, value in entries.items())
        raise InputError(f'MixTransform: a batch has one tensor of images (N, C, H, W), this one has {shown}')
    return found[0]
