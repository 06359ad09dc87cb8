"""FixMatch (Sohn et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.targets import PseudoLabels, confident, cross_entropy, probabilities
from openmix.registry import MODELS


@MODELS.register_module()
class FixMatch(SemiSupervised):
    """Train strong views towards the hard pseudo-labels of weak views, where these are confident.

    The loss is CE(x, y) + weight * mean of 1[max p(weak) >= threshold] CE(strong, argmax p(weak)), averaged over all
    unlabelled images, also those that are masked (Eqs. 3 and 4). Labelled images, weak and strong views are one batch
    for batch norm.

    *Differs from the paper*: the strong views are whatever the recipe makes them; the weight decay is the optimiser's.

    Args:
        threshold: least probability of a pseudo-label, in [0, 1].
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

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        of_x, of_weak, of_strong = self.together(x, *views)
        guess = confident(probabilities(of_weak), self.threshold)
        return {
            'labelled_loss': self.head.loss(of_x, y, Mix.none(len(x), x.device)),
            'unlabelled_loss': self.weight * cross_entropy(of_strong, guess.classes, guess.mask),
        }, guess
