"""FlexMatch (Zhang et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from openmix.batch import UNLABELLED
from openmix.errors import check_number
from openmix.memory import SampleMemory
from openmix.mix import Mix
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.targets import PseudoLabels, confident, cross_entropy, probabilities
from openmix.registry import MODELS

_NONE = -1  # the row of an image that has not been confident yet


def learning_status(labels: Tensor, classes: int) -> Tensor:
    """Compute (C,) float32 beta, how well each class is learned, relative to the best (FlexMatch, Eqs. 5, 6 and 11).

    beta_c is the number of images whose last confident label is c, divided by the largest of these numbers and the
    number of images without one. So all are low while most images have none: the warm-up.

    Args:
        labels: (images,) int64, the last confident label of every unlabelled image, -1 for none.
        classes: C.
    """
    counts = torch.zeros(classes + 1, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, labels - _NONE, torch.ones_like(labels))
    return counts[1:].float() / counts.max()


def flexible(threshold: float, status: Tensor) -> Tensor:
    """Compute the (C,) threshold of every class, threshold * beta / (2 - beta) (FlexMatch, Eqs. 7 and 12)."""
    return threshold * status / (2 - status)


@MODELS.register_module()
class FlexMatch(SemiSupervised):
    """Train strong views towards the pseudo-labels of weak views, with a threshold for each class that rises with it.

    The loss is that of FixMatch with the threshold of the pseudo-label's class, see `flexible`. A memory has the last
    class of every unlabelled image whose probability reached the fixed threshold, over all processes. The thresholds of
    a step are from the memory before it. A class of which the memory holds no image has the threshold 0, so every image
    counts until the first one is confident. A mixed branch has the same mask.

    *Differs from the paper*: the warm-up and the convex mapping are not options. An image that is not confident any
    more keeps its label in the memory, as in the published code.

    Args:
        threshold: least probability of a label in the memory, in [0, 1], and the highest threshold of a class.
        weight: weight of the unlabelled images.
        kwargs: see `SemiSupervised`.

    Raises:
        InputError: an option is out of range.
    """

    views = ('weak', 'strong')

    def __init__(self, threshold: float = 0.95, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(f'{name}: threshold', threshold, 0.0, 1.0)
        check_number(f'{name}: weight', weight, 0.0)
        self.threshold, self.weight = threshold, weight
        self.labels = SampleMemory(fill=_NONE, dtype=torch.int64, pool=UNLABELLED)

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        of_x, of_weak, of_strong = self.together(x, *views)
        p = probabilities(of_weak)
        status = learning_status(self.labels.rows_for(ids), p.shape[1])
        guess = confident(p, flexible(self.threshold, status))
        self.labels.write(ids, guess.classes, where=p.amax(1) >= self.threshold)
        return {
            'labelled_loss': self.head.loss(of_x, y, Mix.none(len(x), x.device)),
            'unlabelled_loss': self.weight * cross_entropy(of_strong, guess.classes, guess.mask),
        }, guess
