"""UDA, unsupervised data augmentation (Xie et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.targets import PseudoLabels, confident, cross_entropy, probabilities
from openmix.registry import MODELS


@MODELS.register_module()
class UDA(SemiSupervised):
    """Train strong views towards the sharpened predictions for weak views, where these are confident.

    The loss is CE(x, y) + weight * mean of 1[max p(weak) >= threshold] CE(strong, softmax(z(weak) / temperature)),
    averaged over all unlabelled images. The mask reads the prediction before it is sharpened. Labelled images, weak and
    strong views are one batch for batch norm.

    *Differs from the paper*: the threshold and temperature are those of later comparisons (TorchSSL); all labelled
    images are trained on, without the annealing of their signal. The cross-entropy differs from the paper's KL
    divergence by a constant.

    Args:
        threshold: least probability of the likeliest class, in [0, 1].
        temperature: divides the logits of the target, > 0.
        weight: weight of the unlabelled images.
        kwargs: see `SemiSupervised`.

    Raises:
        InputError: an option is out of range.
    """

    views = ('weak', 'strong')

    def __init__(self, threshold: float = 0.8, temperature: float = 0.4, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(f'{name}: threshold', threshold, 0.0, 1.0)
        check_number(f'{name}: temperature', temperature, 0.0, above=True)
        check_number(f'{name}: weight', weight, 0.0)
        self.threshold, self.temperature, self.weight = threshold, temperature, weight

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        of_x, of_weak, of_strong = self.together(x, *views)
        guess = confident(probabilities(of_weak), self.threshold)
        target = probabilities(of_weak, self.temperature)
        return {
            'labelled_loss': self.head.loss(of_x, y, Mix.none(len(x), x.device)),
            'unlabelled_loss': self.weight * cross_entropy(of_strong, target, guess.mask),
        }, guess
