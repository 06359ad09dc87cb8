"""MixMatch (Berthelot et al., NeurIPS 2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import check_choice, check_number
from openmix.losses.labels import at_least_float32, label_shares
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.pool_mix import draw_mix, logits_in_parts, rows_of
from openmix.models.semisup.targets import PseudoLabels, probabilities, sharpen
from openmix.ops.kept_buffers import KeptBuffers
from openmix.ops.precision import no_grad
from openmix.registry import MODELS


@MODELS.register_module()
class MixMatch(SemiSupervised):
    """Mix labelled and unlabelled images with one another, towards labels and sharpened mean predictions.

    The target q of an unlabelled image is the mean of the predictions for its two weak views, sharpened; it is soft,
    and the same for both views. All images are mixed with a permutation of themselves, see `draw_mix`. The loss is the
    cross-entropy of the mixed labelled images plus weight * r * the squared error between the predictions for the mixed
    unlabelled images and their targets, averaged over images and classes (Eqs. 2 to 11); r rises linearly.

    The predictions are made with the statistics of their batches. The mixed images pass in interleaved sub-batches, of
    which the first alone moves batch-norm statistics.

    *Differs from the paper*: the constants are those of TorchSSL, whose SGD needs others than the paper's Adam: alpha
    0.5, a weight of 100 and a ramp over 0.4 of the training instead of 0.75, 75 or 150, and 16,384 steps; one lam for a
    batch (`share`). The method's own predictions have no mask: `mask_rate` is not recorded.

    Args:
        temperature: of the sharpening, > 0; below 1 it sharpens.
        alpha: lam ~ Beta(alpha, alpha), > 0.
        share: 'batch' draws one lam for a batch, 'sample' one for each image.
        weight: weight of the unlabelled images at the end of the ramp.
        ramp: share of the training over which it rises, in [0, 1]; 0: no ramp.
        kwargs: see `SemiSupervised`.

    Raises:
        InputError: an option is out of range.
    """

    views = ('weak', 'weak')

    def __init__(
        self,
        temperature: float = 0.5,
        alpha: float = 0.5,
        share: str = 'batch',
        weight: float = 100.0,
        ramp: float = 0.4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(f'{name}: temperature', temperature, 0.0, above=True)
        check_number(f'{name}: alpha', alpha, 0.0, above=True)
        check_choice(f'{name}: share', share, ('batch', 'sample'))
        check_number(f'{name}: weight', weight, 0.0)
        check_number(f'{name}: ramp', ramp, 0.0, 1.0)
        self.temperature, self.alpha, self.share, self.weight, self.ramp = temperature, alpha, share, weight, ramp

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        network, b = self.online(), len(x)
        with no_grad(), KeptBuffers(network):
            p = torch.stack([probabilities(network(view)) for view in views]).mean(0)
        q = sharpen(p, self.temperature)
        targets = torch.cat([F.one_hot(y, q.shape[1]).to(q.dtype), *[q] * len(views)])
        mix = draw_mix(len(targets), self.alpha, self.share, x.device)
        logits = logits_in_parts(network, mix.blend(torch.cat([x, *views])), b)
        predicted = at_least_float32(logits[b:]).softmax(1)
        wanted = label_shares(predicted, targets, rows_of(mix, slice(b, None)))
        return {
            'labelled_loss': self.head.loss(logits[:b], targets, rows_of(mix, slice(0, b))),
            'unlabelled_loss': self.weight * self.rise(self.ramp) * (predicted - wanted).square().mean(),
        }, PseudoLabels(q.argmax(1))
