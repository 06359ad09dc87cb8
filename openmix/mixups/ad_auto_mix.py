"""AdAutoMix (Qin et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError, check_choice, check_number
from openmix.losses.cross_entropy import mix_ce
from openmix.mix import Mix
from openmix.mixups.context import MixContext
from openmix.mixups.learned_mix import LearnedMix
from openmix.mixups.mixer_losses import MixerLoss, loss_and_slope
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.mixups.targets import Target
from openmix.network import Network
from openmix.ops.kept_buffers import KeptBuffers
from openmix.registry import MIXUPS


def similarity(logits: Tensor, y: Tensor, mix: Mix, clean: Tensor) -> Tensor:
    """Compute sum_k weight_k cos(logits, clean logits of source k), averaged over the batch.

    Args:
        logits: (N, C) of the mixed batch.
        y: (M,) labels, which are not read.
        mix: how the batch was mixed.
        clean: (M, C) logits of the clean batch.

    Returns:
        scalar in [-1, 1].
    """
    cosines = F.cosine_similarity(logits.float()[:, None], clean.float()[mix.source], dim=2)
    return (mix.weight * cosines).sum(1).mean()


@MIXUPS.register_module()
class AdAutoMix(LearnedMix):
    """Mix pairs with masks from a Mix Block that is trained against the classifier (Adversarial AutoMixup).

    Training is that of `LearnedMix` but for the loss of the block. With the classifier W, the momentum encoder E, and
    x_mix the image mixed of the x_k with shares lam_k, W minimises, as there,

        CE(W(x), y) + sum_k lam_k CE(W(x_mix), y_k),

    and the block makes what is hard for it: on other pairs, it minimises

        - sum_k lam_k CE(W(x_mix), y_k)
        + beta sum_k lam_k CE(E(x_mix), y_k) - (1 - beta) sum_k lam_k cos(E(x_mix), E(x_k)),

    in which the momentum encoder holds it to images that still show what their labels say. E(.) are logits. No
    gradient reaches the weights of W and E, and batch norm of W keeps its statistics. The masks of both images are a
    softmax of what the block predicts for each. There is no mask loss. The label share is the drawn lam.

    *Differs from the paper*: pairs are mixed, N = 2, while most of its runs mix N = 3 images. Classifier and block
    take their steps at once, each from the other's last weights, instead of in turn. Every sample has its own lam. A
    step against a network passes the clean images through E too, whose batch norm moves once more by it.

    *Published*: the released code works against the momentum encoder, in every second step, and has the opposite sign
    at both of its terms: `against='encoder'` and `interval=2`; one lam per batch, a separate head for clean images, a
    momentum that is constant for the first tenth of training, and interpolation where min(lam, 1 - lam) <= 0.03. Its
    runs on ImageNet mix pairs, with `beta=0.1` and `momentum_end=0.99999`; those on CIFAR-100 do not encode lam:
    `mixer=dict(lam_encoding='none')`. Not to be had here: with N > 2 it adds 0.5 times the cross-entropy of images
    that are mixed linearly; its block takes queries from the image itself and keys from the partner, with ReLU on both.

    Args:
        mixer: options that override those of the block.
        alpha: see `PairPolicy`.
        beta: weight of the momentum encoder's cross-entropy, in [0, 1]; the similarity has the rest.
        against: 'classifier'; or 'encoder', where the block minimises, in place of the above,
            - beta sum_k lam_k CE(E(x_mix), y_k) + (1 - beta) sum_k lam_k cos(E(x_mix), E(x_k)).
        interval: the block works against the network in every so many steps; in the others it minimises
            sum_k lam_k CE(E(x_mix), y_k), as if it were no adversary.
        mask_weight: weight of the mask loss.
        kwargs: other arguments of `LearnedMix` but `mixer_losses`.

    Raises:
        InputError: an option is out of range, or `mixer_losses` are given; in attach, the algorithm has no classifier.
    """

    published = {
        'share': 'batch',
        'against': 'encoder',
        'interval': 2,
        'heads': 'split',
        'lam_margin': 0.03,
        'momentum_end': 0.999999,
        'momentum_hold': 0.1,
    }
    block = {'projection': 'split', 'upsampling': 'bilinear_logits', 'normalization': 'softmax'}

    def __init__(
        self,
        mixer: dict | None = None,
        alpha: float = 1.0,
        beta: float = 0.3,
        against: str = 'classifier',
        interval: int = 1,
        mask_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if 'mixer_losses' in kwargs:
            raise InputError('AdAutoMix: its block has losses of its own, weighed by beta; leave mixer_losses out')
        super().__init__(mixer, alpha=alpha, mask_weight=mask_weight, **kwargs)
        check_number('AdAutoMix: beta', beta, 0.0, 1.0)
        check_choice('AdAutoMix: against', against, ['classifier', 'encoder'])
        check_number('AdAutoMix: interval', interval, 1)
        self.beta, self.against, self.interval = beta, against, interval

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Build the block and the momentum encoder, see `LearnedMix.attach`.

        Raises:
            InputError: the algorithm lends its momentum encoder, so it trains no classifier to work against.
        """
        if encoder is not None:
            raise InputError('AdAutoMix works against a classifier that learns labels; this algorithm trains none')
        super().attach(online)

    def weights_now(self) -> tuple[float, float, float]:
        """Return this step's weights of the classifier's and the encoder's cross-entropy, and of the similarity."""
        if self.step % self.interval:
            return 0.0, 1.0, 0.0
        if self.against == 'encoder':
            return 0.0, -self.beta, 1 - self.beta
        return -1.0, self.beta, self.beta - 1

    def block_loss(
        self, targets: Mapping[str, Target], x: Tensor, mix: Mix, context: MixContext | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the block's loss on a mixed batch and its gradient at the mask; see `LearnedMix.block_loss`.

        Raises:
            InputError: the context has no network to work against.
        """
        online, labels, similar = self.weights_now()
        head, backbone = targets['labels'], self.encoder.backbone
        losses = [MixerLoss(mix_ce, labels, 'labels', 'constant')]
        if similar:
            with torch.no_grad():
                clean = head.logits(backbone(x))
            targets = {**targets, 'clean': Target(head.logits, head.y, {'clean': clean})}
            losses.append(MixerLoss(similarity, similar, 'clean', 'constant'))
        loss, slope = loss_and_slope(losses, targets, backbone, x, mix)
        if online:
            if context is None or context.network is None:
                raise InputError('AdAutoMix: to learn, it needs the network: MixContext(x, y, network=network)')
            against = [MixerLoss(mix_ce, online, 'labels', 'constant')]
            with KeptBuffers(context.network):
                more, rise = loss_and_slope(against, {'labels': Target(nn.Identity(), head.y)}, context.network, x, mix)
            loss, slope = loss + more, slope + rise
        return loss, slope
