"""Pseudo-Label (Lee, ICML 2013 workshop)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.targets import PseudoLabels, confident, cross_entropy, probabilities
from openmix.ops.kept_buffers import KeptBuffers
from openmix.registry import MODELS


@MODELS.register_module()
class PseudoLabel(SemiSupervised):
    """Train images towards their own likeliest class, where it is confident.

    The loss is CE(x, y) + weight * r * mean of 1[max p(u) >= threshold] CE(u, argmax p(u)), averaged over all
    unlabelled images; r rises linearly. The pass of the unlabelled images keeps batch-norm statistics.

    *Differs from the paper*: a threshold, and batch norm instead of dropout, as in later comparisons (TorchSSL). The
    paper's weight rises between two epochs.

    Args:
        threshold: least probability of a pseudo-label, in [0, 1].
        weight: weight of the unlabelled images at the end of the ramp.
        ramp: share of the training over which it rises, in [0, 1]; 0: no ramp.
        kwargs: see `SemiSupervised`.

    Raises:
        InputError: an option is out of range.
    """

    views = ('weak',)

    def __init__(self, threshold: float = 0.95, weight: float = 1.0, ramp: float = 0.4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(f'{name}: threshold', threshold, 0.0, 1.0)
        check_number(f'{name}: weight', weight, 0.0)
        check_number(f'{name}: ramp', ramp, 0.0, 1.0)
        self.threshold, self.weight, self.ramp = threshold, weight, ramp

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        network = self.online()
        of_x = network(x)
        with KeptBuffers(network):
            of_weak = network(views[0])
        guess = confident(probabilities(of_weak), self.threshold)
        weight = self.weight * self.rise(self.ramp)
        return {
            'labelled_loss': self.head.loss(of_x, y, Mix.none(len(x), x.device)),
            'unlabelled_loss': weight * cross_entropy(of_weak, guess.classes, guess.mask),
        }, guess
