"""`MixTransform`: any policy with the signature of torchvision's v2 MixUp and CutMix, also as `collate_fn`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from openmix.errors import InputError, check_choice, check_number
from openmix.integrations.dense_targets import mixed_masks, mixed_targets, soft_masks
from openmix.integrations.origin import Origin, mixed_with_origin
from openmix.integrations.structures import are_samples, collated, entries_of, has_boxes, like
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.ops.batches import what
from openmix.registry import MIXUPS, find

_MASKS, _BOXES = 'masks=True', 'boxes=True and a list with a dict of boxes and labels for each image'


class MixTransform(nn.Module):
    """Mix the images of a batch and its labels, as a transform of batches or as the `collate_fn` of a loader.

    Segmentation masks and boxes are mixed by the same draws as the images, for policies that cut, resize a whole image
    into a box, or interpolate. A policy that moves pixels in another way is refused.

    Args:
        policy: a policy that mixes images, or its registry dict.
        num_classes: C of int64 labels, for `target='soft'`; floating labels, of several classes or of a regression, are
            mixed as they are.
        labels_getter: 'default': the second entry of (images, labels), or the one entry of a dict whose key has 'label'
            in it; or a function of the batch that returns its labels; None: there are no labels.
        target: 'soft' replaces the labels by mixed ones, (N, C) float32; 'mix' keeps them, and adds the `Mix` for a
            loss of (logits, labels, mix): a last entry of a tuple or list, or the key 'mix' of a dict.
        masks: True: the batch has segmentation masks, one integer tensor or `tv_tensors.Mask` (N, H, W) or a mask
            (N, 1, H, W), and each pixel takes the label of the image it comes from; 'soft': they become (N, C, H, W)
            float32 shares of the `num_classes` classes; False: masks are refused.
        boxes: True: the batch has a list of dicts, for each image `boxes` (B, 4), `tv_tensors.BoundingBoxes` or XYXY,
            and `labels` (B,); they become those of all images that are visible, clipped to what is visible, with
            `shares` (B,), the share of each box that is, of its whole area, that outside of the image too; False: boxes
            are refused.
        mean, std: (C,) normalisation of the images, for policies that look at pixels; None: images are in [0, 1].

    Raises:
        InputError: it is no policy, it mixes hidden features, it trains on the clean images too, it adds losses, or an
            argument is unknown.
    """

    def __init__(
        self,
        policy: MixPolicy | dict[str, Any],
        *,
        num_classes: int | None = None,
        labels_getter: Callable[[Any], Tensor] | str | None = 'default',
        target: str = 'soft',
        masks: bool | str = False,
        boxes: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy_of_images('MixTransform', policy)
        check_choice('MixTransform: target', target, ('soft', 'mix'))
        if masks not in (False, True, 'soft'):
            raise InputError(f"MixTransform: masks is True, False or 'soft', got {masks!r}")
        if boxes not in (False, True):
            raise InputError(f'MixTransform: boxes is True or False, got {boxes!r}')
        if masks == 'soft' and num_classes is None:
            raise InputError("MixTransform: masks='soft' needs num_classes, those of the pixels")
        if num_classes is not None:
            check_number('MixTransform: num_classes', num_classes, 1)
        if not (labels_getter is None or labels_getter == 'default' or callable(labels_getter)):
            raise InputError(f"MixTransform: labels_getter is 'default', None or a function, got {labels_getter!r}")
        if target == 'mix' and labels_getter is None:
            raise InputError("MixTransform: target='mix' keeps labels, and labels_getter=None says that there are none")
        self.num_classes, self.labels_getter, self.target = num_classes, labels_getter, target
        self.masks, self.boxes = masks, boxes
        self.mean, self.std = (None if one is None else torch.tensor(one) for one in (mean, std))

    def forward(self, *inputs: Any) -> Any:
        """Mix a batch.

        Args:
            inputs: images and labels, or one tuple, list or dict with them; or a list of samples, as a loader gives it
                to its `collate_fn`. Images are (N, C, H, W), floating or uint8. With masks or boxes there need be no
                labels of images.

        Returns:
            the same structure, see `target`; images keep their dtype and class.

        Raises:
            InputError: there is not one batch of images, or there are labels, masks or boxes that cannot be mixed, or
            masks or boxes that `masks` and `boxes` do not ask for.
        """
        batch: Any = inputs if len(inputs) > 1 else inputs[0]
        if are_samples(batch):
            batch = collated(batch)
        entries = entries_of(batch)
        mask, boxes = _masks(entries) if self.masks else None, _targets(entries) if self.boxes else None
        plain = {key: value for key, value in entries.items() if key not in (mask, boxes)}
        _check_no_boxes(plain)
        labels = self._labels(batch, plain, len(plain) < len(entries))
        image = _image(plain, labels)
        x = entries[image]
        y: Any = None if labels is None else entries[labels]
        mixed, mix, origin = self._mixed(x, y, len(plain) < len(entries))
        entries[image] = mixed
        if origin is not None and mask is not None:
            entries[mask] = self._mixed_masks(entries[mask], x, origin)
        if origin is not None and boxes is not None:
            if len(entries[boxes]) != len(x):
                raise InputError(f'MixTransform: {len(entries[boxes])} dicts of boxes do not belong to {len(x)} images')
            entries[boxes] = mixed_targets(entries[boxes], origin)
        if self.target == 'mix':
            entries['mix' if isinstance(batch, Mapping) else len(entries)] = mix
        elif labels is not None:
            entries[labels] = mix.soft_labels(y, None if y.is_floating_point() else self._classes())
        return like(batch, entries)

    def _mixed(self, x: Tensor, y: Tensor | None, dense: bool) -> tuple[Tensor, Mix, Origin | None]:
        pixels = x.as_subclass(Tensor)
        z = pixels if pixels.is_floating_point() else pixels.float() / 255
        mean, std = (None if one is None else one.to(z.device) for one in (self.mean, self.std))
        context = MixContext(z, classes_of(y), mean=mean, std=std)
        origin: Origin | None = None
        if dense:
            mixed, mix, origin = mixed_with_origin(self.policy, z, context)
        else:
            mixed, mix = self.policy(z, context)
        if not pixels.is_floating_point():
            mixed = (mixed * 255).round().clamp(0, 255).to(pixels.dtype)
        return (tv_tensors.wrap(mixed, like=x) if isinstance(x, tv_tensors.TVTensor) else mixed), mix, origin

    def _mixed_masks(self, masks: Tensor, x: Tensor, origin: Origin) -> Tensor:
        plain = masks.as_subclass(Tensor)
        flat = plain[:, 0] if plain.dim() == 4 and plain.shape[1] == 1 else plain
        if flat.shape != (len(x), *x.shape[2:]):
            raise InputError(f'MixTransform: masks of images {tuple(x.shape)} are (N, H, W), got {tuple(masks.shape)}')
        if self.masks == 'soft':
            return soft_masks(flat, origin, self._classes())
        found = mixed_masks(flat, origin).view(plain.shape)
        return tv_tensors.wrap(found, like=masks) if isinstance(masks, tv_tensors.TVTensor) else found

    def _classes(self) -> int:
        if self.num_classes is None:
            raise InputError("MixTransform: int64 labels need num_classes, or target='mix'")
        return self.num_classes

    def _labels(self, batch: Any, entries: dict[Any, Any], dense: bool) -> Any:
        """Return the key of the labels among entries without masks and boxes; None: there are none."""
        if self.labels_getter is None:
            return None
        if callable(self.labels_getter):
            wanted = self.labels_getter(batch)
            found = [key for key, value in entries.items() if value is wanted]
        elif isinstance(batch, Mapping):
            found = [key for key in entries if 'label' in str(key).lower()]
        else:
            found = list(entries)[1:2]
        if dense and not found:
            return None
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
        InputError: it is no policy, mixes hidden features, trains on the clean images too or adds losses of its own;
            the line begins with `name`.
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
        if isinstance(one, MixPolicy) and one.adds_losses:
            raise InputError(
                f'{name}: {type(one).__name__} adds losses of what the network sees in the mixed images, and a loader '
                'has no network; train with openmix'
            )
    return policy


def _masks(entries: dict[Any, Any]) -> Any:
    found = [
        key
        for key, value in entries.items()
        if isinstance(value, Tensor) and (isinstance(value, tv_tensors.Mask) or _labels_pixels(value))
    ]
    if len(found) != 1:
        raise InputError(
            f'MixTransform: masks are one integer tensor (N, H, W) of the batch, this one has {_shown(entries)}'
        )
    return found[0]


def _labels_pixels(value: Tensor) -> bool:
    return value.dim() == 3 and not value.is_floating_point()


def _targets(entries: dict[Any, Any]) -> Any:
    found = [
        key
        for key, value in entries.items()
        if isinstance(value, (tuple, list)) and len(value) and all(has_boxes(one) for one in value)
    ]
    if len(found) != 1:
        raise InputError(
            'MixTransform: boxes=True needs one list with a dict of boxes and labels for each image, the batch has '
            f'{_shown(entries)}'
        )
    return found[0]


def _shown(entries: dict[Any, Any]) -> str:
    return ', '.join(f'{key}: {what(value)}' for key, value in entries.items())


def _image(entries: dict[Any, Any], labels: Any) -> Any:
    """Return the key of the images among entries without those that `masks` and `boxes` ask for.

    Raises:
        InputError: there is not one, or there are masks that nobody asked for.
    """
    found = [k for k, value in entries.items() if isinstance(value, Tensor) and value.dim() >= 4 and k != labels]
    size = (len(entries[found[0]]), *entries[found[0]].shape[-2:]) if len(found) == 1 else None
    for key, value in entries.items():
        plain = isinstance(value, Tensor) and key != labels and _labels_pixels(value) and value.shape == size
        if plain or isinstance(value, tv_tensors.Mask):
            raise InputError(f"MixTransform: the Mask in entry '{key}' is not mixed here; give {_MASKS}")
    if len(found) != 1:
        raise InputError(f'MixTransform: a batch has one tensor of images (N, C, H, W), this one has {_shown(entries)}')
    return found[0]


def _check_no_boxes(entries: dict[Any, Any]) -> None:
    for key, value in entries.items():
        among = value if isinstance(value, (tuple, list)) else [value]
        if key == 'boxes' or any(has_boxes(one) or isinstance(one, tv_tensors.BoundingBoxes) for one in among):
            raise InputError(f"MixTransform: the boxes in entry '{key}' are not mixed here; give {_BOXES}")
