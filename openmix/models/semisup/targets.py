"""What unlabelled images are trained towards: probabilities, sharpening, pseudo-labels and masks."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from openmix.losses.cross_entropy import mix_ce
from openmix.losses.labels import at_least_float32
from openmix.mix import Mix


class PseudoLabels(NamedTuple):
    """The classes that a method takes its U unlabelled images for.

    Attributes:
        classes: (U,) int64.
        mask: (U,) float, 1 for the images that the method trains on with this class, 0 for the others; None: all.
    """

    classes: Tensor
    mask: Tensor | None = None


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the (N, C) softmax of logits / temperature, in at least float32 and without gradient."""
    return (at_least_float32(logits.detach()) / temperature).softmax(1)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """Raise (N, C) probabilities to the power 1 / temperature and normalise them (Berthelot et al., 2019, Eq. 7)."""
    # Powers of p would all be 0 at a low temperature.
    return (p.log() / temperature).softmax(1)


def confident(p: Tensor, threshold: float | Tensor) -> PseudoLabels:
    """Take the likeliest class of (N, C) probabilities, and mask those whose probability is below the threshold.

    Args:
        threshold: one for all images, or (C,) one for each class.
    """
    confidence, classes = p.max(1)
    least = threshold[classes] if isinstance(threshold, Tensor) else threshold
    return PseudoLabels(classes, (confidence >= least).to(p.dtype))


def cross_entropy(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the cross-entropy of (N, C) logits with classes (N,) or probabilities (N, C), averaged over all N rows.

    Args:
        mask: (N,) weights; a masked row adds 0 and still counts in the average.
    """
    return mix_ce(logits, target, Mix.none(len(logits), logits.device), rows=mask)
