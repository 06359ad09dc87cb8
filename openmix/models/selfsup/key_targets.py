"""What a learned policy trains its mixer with where there are keys in place of labels."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from openmix.mixups.targets import Target
from openmix.models.selfsup.contrast import unit
from openmix.models.selfsup.image_classes import ImageClasses
from openmix.ops.beta import draw_lam
from openmix.ops.precision import full_precision

# What is added to the shares of a key and of that of the other view, which are drawn from Beta(2, 2).
_ADDED = {'interpolated_keys': 0.0, 'extrapolated_keys': 1.0}
OF_BOTH_VIEWS = frozenset(_ADDED)
OF_OTHER_LABELS = frozenset({'queue_of_other_labels'})


def key_targets(
    wanted: Collection[str],
    embed: Callable[[Tensor], Tensor],
    keys: Tensor,
    queue: Target,
    of_other_views: Tensor | None = None,
    y: Tensor | None = None,
    classes: ImageClasses | None = None,
) -> dict[str, Target]:
    """Return the wanted targets of mixed images, by name.

    - 'keys': the dot products with the keys of the batch alone, for BCE;
    - 'queue': those with the keys and their negatives, for infoNCE;
    - 'queue_of_other_labels': as 'queue', without the negatives of the class of a source: infoNCE (L) and (PL);
    - 'labels': the logits of the head of `classes`, which is not trained by them: CE (L), CE (PL) and pBCE;
    - 'interpolated_keys', 'extrapolated_keys': as 'keys', but every key is mixed with that of the image's other view,
      s key + (1 - s) other, renormalised, where s is drawn for every number of a key: from Beta(2, 2), or 1 above it
      (Zhu et al., ICCV 2021). The released code of Automatic Mixup's authors has them.

    Args:
        wanted: names.
        embed: maps features (N, D) of the momentum encoder to embeddings (N, P), of any length.
        keys: (M, P) positives of the clean images.
        queue: the target 'queue', whose logits are of embeddings.
        of_other_views: (M, P) keys of the views that `keys` are not of, of the same images, for mixed keys.
        y: (M,) int64 classes of the clean images, for targets of classes; -1 where there is none.
        classes: their head, and the classes of the queue.
    """
    found = {}
    for name in sorted(wanted):
        if name == 'labels':
            assert y is not None
            assert classes is not None
            assert classes.head is not None
            # An image without a class is no source of an image that the mixer learns from; losses want a class of it.
            found[name] = Target(_logits_of(embed, classes.head), y.clamp(min=0))
        elif name in ('queue', *OF_OTHER_LABELS):
            more = {} if name == 'queue' or classes is None else {'classes': y, 'key_classes': classes.queue}
            found[name] = Target(lambda features: queue.logits(embed(features)), queue.y, {**queue.options, **more})
        elif name in _ADDED:
            assert of_other_views is not None
            images = len(keys) // 2
            share = draw_lam(images * keys.shape[1], 2.0, keys.device).view(images, -1).repeat(2, 1) + _ADDED[name]
            found[name] = _dots(embed, unit(share * keys + (1 - share) * of_other_views))
        else:
            found[name] = _dots(embed, keys)
    return found


def _dots(embed: Callable[[Tensor], Tensor], keys: Tensor) -> Target:
    """Return the target of dot products with keys (M, P), the m-th of which is that of image m."""

    def logits(features: Tensor) -> Tensor:
        z = unit(embed(features))
        with full_precision(z):
            return z @ keys.to(z.dtype).T

    return Target(logits, torch.arange(len(keys), device=keys.device))


def _logits_of(embed: Callable[[Tensor], Tensor], head: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda features: head(embed(features))
