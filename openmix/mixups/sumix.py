"""SUMix (Qin et al., ECCV 2024): label shares by semantic distance and a loss of uncertainty, for policies of pairs."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.losses.labels import at_least_float32
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import image_size, precision
from openmix.mixups.input_gradient import mode_of
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import HasClasses, Network
from openmix.ops.precision import full_precision
from openmix.registry import MIXUPS, PolicyConfig, find


def unit_softmax(z: Tensor) -> Tensor:
    """Compute softmax(z) over the classes of (N, C), divided by its Euclidean norm."""
    return F.normalize(z.softmax(1), dim=1)


def semantic_distance(p_mixed: Tensor, p_clean: Tensor, not_in: Tensor) -> Tensor:
    """Compute the (N, C) distance of mixed images from their sources, class by class: unit_softmax(p_mixed - p_clean).

    Args:
        p_mixed, p_clean: (N, C) class probabilities of the mixed images and of one source of each.
        not_in: (N,) int64, the class of the other source, whose probability in `p_clean` counts as 0.
    """
    return unit_softmax(p_mixed - p_clean.scatter(1, not_in[:, None], 0.0))


@MIXUPS.register_module()
class SUMix(MixPolicy):
    """Mix by a policy of pairs, and weigh the labels by how far the mixed image is from each of its images.

    With the class probabilities p of the network and s = `scale`, for the images a and b of a pair with share lam:

        d_a = s unit_softmax(p_mixed - p_a),  where p_a of the class of b counts as 0; d_b alike,
        lam' = lam exp(-d_a[y_a]) / (lam exp(-d_a[y_a]) + (1 - lam) exp(-d_b[y_b])).

    The loss `gamma [lam CE(exp(-(d_a + b_a)), y_a) + (1 - lam) CE(exp(-(d_b + b_b)), y_b)]` is added, averaged over the
    batch, with the uncertainties b_a = u_a + u_mixed, u = unit_softmax of a linear layer of its own on the features,
    which is trained along and is no part of the network. It trains the backbone too; the distances have no gradient.

    A training step has one more pass, of the clean images, which trains as well and moves the statistics of batch norm.
    In evaluation mode it is one in evaluation mode.

    *Differs from the paper*: the equations are those of the released code, and were not held against the printed ones.
    By them, a class that the mixed image is taken for with less probability than its own image *gains* share. Clean
    images pass the network after the mixed ones, there before; every pair has a lam of its own, as its policy draws it.
    The released criterion is a scalar, so lam' has an effect there by its mean over the batch alone; here each sample
    has its own. Its layer of the uncertainties begins with weights from N(0, 0.01), here with torch's.

    Args:
        policy: a policy of pairs of images that trains nothing, or its registry dict.
        gamma: weight of the loss, 0.5 in the released recipe of CIFAR-100; >= 0.
        scale: factor of the distances, > 0; None: the number of images in the batch.

    Raises:
        InputError: not such a policy, or a number out of range; in attach, the policy is learned, or the head does not
            tell the number of classes; in forward, no network was attached, or the context lacks labels or network.
    """

    adds_losses = True
    of_training = frozenset({'uncertainty'})

    def __init__(self, policy: MixPolicy | PolicyConfig, gamma: float = 0.5, scale: float | None = None) -> None:
        super().__init__()
        if isinstance(policy, dict):
            find(MIXUPS, policy.get('type'))
            policy = MIXUPS.build(policy)
        if not isinstance(policy, PairPolicy) or policy.sites != ('',):
            told = f'{type(policy).__name__} at {list(policy.sites)}' if isinstance(policy, PairPolicy) else policy
            raise InputError(f'SUMix: policy must be one of pairs of images with a lam, got {told}')
        check_number('SUMix: gamma', gamma, 0.0)
        if scale is not None:
            check_number('SUMix: scale', scale, 0.0, above=True)
        self.policy, self.gamma, self.scale = policy, gamma, scale
        self.clean_weight = policy.clean_weight
        self.drawn: Tensor | None = None

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        self.policy.attach(online, encoder)
        if any(parameter.requires_grad for parameter in self.policy.parameters()):
            raise InputError(f'SUMix: {type(self.policy).__name__} is learned; take a policy that trains nothing')
        if not isinstance(online.head, HasClasses):
            raise InputError(f'SUMix: {type(online.head).__name__} has no num_classes, the number of uncertainties')
        twin, size = copy.deepcopy(online.backbone).to('meta').eval(), image_size(online.backbone)
        with torch.no_grad():
            seen = twin(torch.empty(2, 3, *size, device='meta', dtype=precision(online.backbone)))
        self.uncertainty = nn.Linear(seen.shape[1], online.head.num_classes)

    @property
    def own_pairs(self) -> bool:
        """True if the policy chooses partners."""
        return self.policy.own_pairs

    def attention_sites(self) -> set[str]:
        return self.policy.attention_sites()

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        context = self.asked(context, z)
        if context.y is None or not isinstance(context.network, Network):
            raise InputError(
                'SUMix reads predictions and labels; pass MixContext(x, y, network=Network(backbone, head))'
            )
        with context.settling(later=True):  # `settled` settles the policy, once
            mixed, mix = self.policy(z, context, pairs)
        return mixed, mix if context.settles_later else self.settled(mix, context, context.of_mixed(mixed))

    def settled(self, mix: Mix, context: MixContext, seen: MixContext) -> Mix:
        mix = self.policy.settled(mix, context, seen)
        network = context.network
        assert isinstance(network, Network)
        with nullcontext() if self.training else mode_of(network.backbone, False):
            context.keep_outputs({'': network.backbone(context.x)})
        of_own, of_other = self.distances(mix, context, seen)
        own, other = classes_of(mix, context)
        apart = of_own.gather(1, own[:, None]) - of_other.gather(1, other[:, None])
        self.drawn, mask = mix.lam, mix.mask
        if mask is None:  # the pixels keep their shares
            mask = mix.lam[:, None, None, None].expand(-1, 1, *context.x.shape[2:])
        return Mix.pairs(mix.partner, torch.sigmoid(mix.lam.logit() - apart[:, 0]), mask)

    def distances(self, mix: Mix, context: MixContext, seen: MixContext) -> tuple[Tensor, Tensor]:
        """Compute the scaled distances (N, C) of the mixed images from samples, and from partners; without gradient."""
        with torch.no_grad():
            p_mixed, p_clean = (at_least_float32(one.logits()).softmax(1) for one in (seen, context))
            own, other = classes_of(mix, context)
            scale = len(p_mixed) if self.scale is None else self.scale
            of_own = semantic_distance(p_mixed, p_clean[: len(p_mixed)], other)
            return scale * of_own, scale * semantic_distance(p_mixed, p_clean[mix.partner], own)

    def mixed_losses(self, mix: Mix, context: MixContext, seen: MixContext) -> dict[str, Tensor]:
        """Compute 'uncertainty_loss', see the class.

        Raises:
            InputError: the batch was not settled, or one of its contexts has no output of the backbone.
        """
        if self.drawn is None or '' not in context.outputs or '' not in seen.outputs:
            raise InputError(
                'SUMix: mixed_losses reads what the backbone puts out for clean and for mixed images; '
                'call settled before it, and keep_outputs of the mixed images'
            )
        n, (own, other) = len(mix.source), classes_of(mix, context)
        of_own, of_other = self.distances(mix, context, seen)
        with full_precision(seen.x):
            clean, mixed = (
                unit_softmax(self.uncertainty(at_least_float32(one.outputs['']))) for one in (context, seen)
            )
            of_sample = F.cross_entropy(torch.exp(-(of_own + clean[:n] + mixed)), own, reduction='none')
            of_partner = F.cross_entropy(torch.exp(-(of_other + clean[mix.partner] + mixed)), other, reduction='none')
            loss = self.gamma * torch.lerp(of_partner, of_sample, self.drawn.to(of_sample.dtype)).mean()
        return {'uncertainty_loss': loss}

    def extra_repr(self) -> str:
        return f'gamma={self.gamma}, scale={self.scale}'


def classes_of(mix: Mix, context: MixContext) -> tuple[Tensor, Tensor]:
    """Return the (N,) classes of the samples and of their partners; class probabilities are replaced by the largest."""
    assert context.y is not None
    y = context.y.argmax(1) if context.y.is_floating_point() else context.y
    return y[: len(mix.source)], y[mix.partner]
