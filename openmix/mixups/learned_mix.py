"""The base of policies whose masks come from a network, the Mix Block, that is trained along with the classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openmix.errors import InputError, brief, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.mask_settling import settling
from openmix.mixups.mix_block import Mixer, mask_loss, mixer_options
from openmix.mixups.mixer_losses import build_losses, loss_and_slope
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.mixups.targets import Target
from openmix.network import Network
from openmix.ops.ema import frozen_copy
from openmix.ops.kept_buffers import KeptBuffers
from openmix.ops.precision import no_grad
from openmix.ops.schedules import compounded_cosine, cosine
from openmix.registry import MODELS

# The defaults of momentum, momentum_end and momentum_hold.
_MOMENTUM = (0.999, 1.0, 0.0)


class LearnedMix(PairPolicy):
    """Mix pairs with masks from a Mix Block that is trained through a momentum encoder (Automatic Mixup, 2.2 and 3).

    The momentum encoder is the moving average of backbone and head. The block reads its features of
    both images. A training step has two tasks, each with its own pairs and lam:

    - classification: the block is not trained; the classifier learns from the mixed images (the loss of
      the head) and, with weight `clean_weight`, from the clean images;
    - generation: the mixed images pass through the frozen momentum encoder; the losses on its logits
      (`mixer_loss`) and on the mask (`mask_loss`) train only the block.

    The label share is the drawn lam. The policy mixes images only. The accuracy of a run is that of the
    momentum encoder; the accuracy of the trained classifier is reported too, as 'online'.

    Without labels, an algorithm such as `MoCo` lends its momentum encoder, and offers other targets for `mixer_losses`.
    Its running statistics of batch norm are then not moved by mixed images.

    *Differs from the paper*: every sample has its own lam; the published runs draw one per batch
    (`share='batch'`). The forward pass for features stops at `site`, so later batch norms of the momentum
    encoder see only mixed images.

    Args:
        mixer: registry dict of the block; 'type' is `MixBlock` by default, `in_channels` is filled in.
        site: module of the backbone whose output the block reads; 'layer3' is the papers' l = 3.
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`.
        momentum, momentum_end: weight of the old value in the moving average, at the start and at the
            end of a half cosine.
        momentum_hold: fraction of training during which the momentum keeps its first value.
        mixer_losses: registry dicts of losses `f(logits, y, mix)` on the momentum encoder's logits, each with a
            `weight`, its `schedule`, and `of`, what it compares with, see `build_losses`; they are summed. None: the
            cross-entropy `mix_ce` of labels.
        mask_weight: weight of the mask loss (beta).
        mask_schedule: schedule of the mask loss: 'constant'; 'cosine' to zero; or 'compounded', to zero within the
            first epochs, as in the released code (`openmix.ops.schedules.compounded_cosine`).
        mask_margin: distance between a mask's mean and lam that is not penalised (epsilon).
        mask_form: of the mask loss, see `mask_loss`.
        mean_weight, variance_weight: weights of the two parts of the mask loss.
        smoothing, adjust_prob, adjust_margin, lam_margin: what happens to the masks of the classification task, see
            `MaskSettling`.
        same_labels: pairs of one label in the classification task: 'mask': as others; 'interpolate': without a mask.
        train_prob: probability that a step trains the block.
        skips: what the other steps leave out: 'both': the block is not trained; 'mixer_loss': the losses on the logits,
            while the mask loss stays, as in the released code.
        heads: 'shared', or 'split': clean images have a separate head, as in the released code.

    Attributes:
        block: default options of the policy's block, overridden by `mixer`.

    Raises:
        InputError: an argument is out of range; in attach, the backbone has no such site; in forward, no
            network was attached.
    """

    block: ClassVar[dict[str, Any]] = {}
    clean_weight = 1.0

    def __init__(
        self,
        mixer: dict | None = None,
        site: str = 'layer3',
        alpha: float = 2.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        momentum: float = 0.999,
        momentum_end: float = 1.0,
        momentum_hold: float = 0.0,
        mask_weight: float = 0.1,
        mask_schedule: str = 'constant',
        mask_margin: float = 0.1,
        mean_weight: float = 1.0,
        variance_weight: float = 0.0,
        adjust_prob: float = 0.0,
        lam_margin: float = 0.0,
        train_prob: float = 1.0,
        heads: str = 'shared',
        mixer_losses: Sequence[dict] | None = None,
        skips: str = 'both',
        self_pairs: bool = True,
        smoothing: tuple[float, float] | None = None,
        adjust_margin: float = 0.0,
        same_labels: str = 'mask',
        mask_form: str = 'absolute',
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        name = type(self).__name__
        shares = dict(momentum=momentum, momentum_end=momentum_end, momentum_hold=momentum_hold)
        shares |= dict(mask_margin=mask_margin, train_prob=train_prob)
        for key, value in shares.items():
            check_number(f'{name}: {key}', value, 0.0, 1.0)
        self.settling = settling(name, smoothing, adjust_prob, adjust_margin, lam_margin, share)
        check_choice(f'{name}: same_labels', same_labels, ['mask', 'interpolate'])
        check_choice(f'{name}: mask_form', mask_form, ['absolute', 'squared'])
        weights = dict(mask_weight=mask_weight, mean_weight=mean_weight, variance_weight=variance_weight)
        for key, value in weights.items():
            check_number(f'{name}: {key}', value, 0.0)
        check_choice(f'{name}: mask_schedule', mask_schedule, ['constant', 'cosine', 'compounded'])
        check_choice(f'{name}: heads', heads, ['shared', 'split'])
        check_choice(f'{name}: skips', skips, ['both', 'mixer_loss'])
        if not isinstance(site, str):
            raise InputError(f'{name}: site must be the name of a module of the backbone, got {brief(site)}')
        self.mixer_cfg = mixer_options(name, self.block, mixer)
        self.site_name = site
        self.momentum, self.momentum_end, self.momentum_hold = momentum, momentum_end, momentum_hold
        self.mask_weight, self.mask_schedule, self.mask_margin = mask_weight, mask_schedule, mask_margin
        self.mean_weight, self.variance_weight = mean_weight, variance_weight
        self.lam_margin, self.same_labels, self.mask_form = lam_margin, same_labels, mask_form
        self.train_prob, self.heads, self.skips = train_prob, heads, skips
        given = [{'type': 'mix_ce'}] if mixer_losses is None else mixer_losses
        self.losses_of_mixer = build_losses(f'{name}: mixer_losses', given)
        self.targets = frozenset(loss.target for loss in self.losses_of_mixer)
        self.step, self.steps = 0, 1
        self.borrows = False

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if some steps do not train the block, which leaves its parameters without a gradient."""
        return self.train_prob < 1 and self.skips == 'both'

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        """Yield the contexts of the base class, in which every step also trains the block unless `train_prob` is 0."""
        for way in super().ways():
            yield self._training(way)

    @contextmanager
    def _training(self, way: AbstractContextManager[None]) -> Iterator[None]:
        drawn, self.train_prob = self.train_prob, float(math.ceil(self.train_prob))
        try:
            with way:
                yield
        finally:
            self.train_prob = drawn

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Build the block for the trained network, and the momentum encoder unless the algorithm lends its own.

        Raises:
            InputError: the backbone has no such site, or the mixer is not a `Mixer`; with a momentum encoder that is
                lent, `heads` is not 'shared', or a momentum is given.
        """
        self.feature_site = FeatureSite(online.backbone, self.site_name)
        mixer = MODELS.build({**self.mixer_cfg, 'in_channels': self.feature_site.channels})
        name = type(self).__name__
        if not isinstance(mixer, Mixer):
            raise InputError(f'{name}: {type(mixer).__name__} is no mixer; derive it from Mixer')
        self.mixer = mixer
        self.borrows = encoder is not None
        if encoder is not None:
            if self.heads == 'split':
                has = ', '.join(encoder.heads)
                raise InputError(
                    f"{name}: the algorithm's momentum encoder has the heads {has}: a policy that borrows it needs "
                    "one called 'head', and heads='shared'"
                )
            if (self.momentum, self.momentum_end, self.momentum_hold) != _MOMENTUM:
                raise InputError(
                    f"{name}: the momentum encoder is the algorithm's, and so is its momentum; leave momentum, "
                    'momentum_end and momentum_hold out of the policy'
                )
            # No child of this module: its weights would stand in checkpoints twice.
            self.__dict__['encoder'] = encoder
            return
        if self.heads == 'split':
            self.own_clean_head = frozen_copy(online.head).requires_grad_(True)
        self.encoder = MomentumEncoder(online.backbone, **self._followed(online))

    def _followed(self, online: Network) -> dict[str, nn.Module]:
        """Return the heads that the momentum encoder copies, by its names for them."""
        clean = {'clean': self.own_clean_head} if self.heads == 'split' else {}
        return {'head': online.head, **clean}

    def start(self, online: Network) -> None:
        """Copy the weights of the trained network into the momentum encoder, unless the algorithm does."""
        if self.heads == 'split':
            self.own_clean_head.load_state_dict(online.head.state_dict())
        if not self.borrows:
            self.encoder.start(online.backbone, **self._followed(online))

    def before_step(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Mix for the classification task; see `MixPolicy.forward`. No gradient reaches the block."""
        size = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        lam = self.draw_lam(len(partner), z.device)
        plain = self.of_one_label(context, partner)
        with no_grad():
            mask = self.settling(self.draw_mask(self.features(z, context), partner, lam, size), lam, plain)
        mix = Mix.pairs(partner, lam, mask)
        return mix.blend(z), mix

    @torch.no_grad()
    def features(self, z: Tensor, context: MixContext | None) -> Tensor:
        """Compute (M, C, h, w) features at the momentum encoder's site; those of the context's images are cached.

        Raises:
            InputError: no network was attached.
        """
        if self.feature_site is None:
            name = type(self).__name__
            raise InputError(f'{name} needs a network; give it as policy to a classifier, or call attach(Network(...))')
        backbone = self.encoder.backbone
        if context is not None and context.x is z:
            return context.features(self.feature_site, backbone)
        return self.feature_site(backbone, z.to(next(backbone.parameters()).dtype))

    def draw_mask(self, features: Tensor, partner: Tensor, lam: Tensor, size: tuple[int, int]) -> Tensor:
        """Compute (N, 1, H, W) masks with the block, from (M, C, h, w) features."""
        return self.mixer(features[: len(partner)], features[partner], lam, size)

    def of_one_label(self, context: MixContext | None, partner: Tensor) -> Tensor | None:
        """Return (N,) bool, true for pairs of one label that are interpolated; None: `same_labels` is 'mask'.

        Raises:
            InputError: there are no labels.
        """
        if self.same_labels == 'mask':
            return None
        if context is None or context.y is None:
            name = type(self).__name__
            raise InputError(f"{name}: same_labels='interpolate' needs labels: MixContext(x, y), or same_labels='mask'")
        return context.y[: len(partner)] == context.y[partner]

    def own_losses(self, context: MixContext, pairs: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the losses of the generation task; steps that do not train the block leave out what `skips` says.

        Raises:
            InputError: the context has no labels, or lacks another target that a loss is of.
        """
        learns = self.train_prob == 1 or float(torch.rand(())) < self.train_prob
        if not learns and self.skips == 'both':
            return {}
        return self.generation_losses(context.x, context.y, context, on_logits=learns, pairs=pairs)

    def targets_in(self, context: MixContext) -> Mapping[str, Target]:
        """Return the targets of the losses by name: the context's, or the labels of a classifier.

        Raises:
            InputError: one is missing.
        """
        found = context.targets
        if found is None:
            found = {}
            if context.y is not None and 'head' in self.encoder.heads:
                found = {'labels': Target(self.encoder.heads['head'], context.y)}
        name, missing = type(self).__name__, sorted(self.targets - found.keys())
        if missing == ['labels'] and not found:
            raise InputError(f'{name}: to learn, the context needs labels: MixContext(x, y)')
        if missing:
            has = ', '.join(found) or 'none'
            raise InputError(f"{name}: mixer_losses are of '{missing[0]}', and the targets of the batch are: {has}")
        return found

    def clean_head(self, head: nn.Module) -> nn.Module:
        return self.own_clean_head if self.heads == 'split' else head

    def generation_losses(
        self,
        x: Tensor,
        y: Tensor | None = None,
        context: MixContext | None = None,
        on_logits: bool = True,
        pairs: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses that train only the block: 'mixer_loss' and 'mask_loss', scalars.

        Args:
            x: (M, 3, H, W) clean images.
            y: (M,) int64; None: the context has other targets.
            context: the context of these images, which caches their features; None: compute them.
            on_logits: with 'mixer_loss'; without it the mixed images do not pass through the momentum encoder.
            pairs: (N,) int64 partners, see `MixPolicy.forward`; None: they are drawn.
        """
        targets = self.targets_in(MixContext(x, y) if context is None else context)
        partner = self.draw_pairs(x, pairs)
        lam = self.draw_lam(len(partner), x.device)
        mask = self.draw_mask(self.features(x, context), partner, lam, self.height_and_width(x))
        of_mask = mask_loss(mask, lam, self.mask_margin, self.mean_weight, self.variance_weight, self.mask_form)
        losses = {'mask_loss': self.mask_weight_now() * of_mask}
        if on_logits:
            mix = Mix.pairs(partner, lam, mask.detach())
            loss, slope = self.block_loss(targets, x, mix, context)
            # A term with the value of the loss and the gradient that was computed through the momentum encoder.
            linear = (mask * slope).sum()
            losses = {'mixer_loss': loss + linear - linear.detach()} | losses
        return losses

    def block_loss(
        self, targets: Mapping[str, Target], x: Tensor, mix: Mix, context: MixContext | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of mixed images that the block minimises, detached, and its (N, 1, H, W) slope at the mask.

        Args:
            targets: what the losses compare with, by name.
            x: (M, 3, H, W) clean images.
            mix: how they are mixed.
            context: the context of these images, if there is one.
        """
        with KeptBuffers(self.encoder) if self.borrows else nullcontext():
            progress = self.step / self.steps
            return loss_and_slope(self.losses_of_mixer, targets, self.encoder.backbone, x, mix, progress)

    def momentum_now(self) -> float:
        """Return the momentum (weight of the old value) at this iteration."""
        progress = self.step / self.steps
        return self.momentum if progress < self.momentum_hold else cosine(self.momentum, self.momentum_end, progress)

    def mask_weight_now(self) -> float:
        """Return the weight of the mask loss at this iteration."""
        if self.mask_schedule == 'constant':
            return self.mask_weight
        if self.mask_schedule == 'cosine':
            return cosine(self.mask_weight, 0.0, self.step / self.steps)
        return self.mask_weight * compounded_cosine(self.step, self.steps)

    def after_step(self, online: Network) -> None:
        """Update the momentum encoder, unless the algorithm does, and clamp the block's bounded parameters."""
        if not self.borrows:
            self.encoder.follow(self.momentum_now(), online.backbone, **self._followed(online))
        self.mixer.project()

    def networks(self, online: Network) -> dict[str, Network]:
        """Return the momentum encoder as '' and the trained network as 'online'.

        With a borrowed momentum encoder, which the algorithm reports, the trained network alone is returned. With
        split heads, 'online_clean' and 'momentum_clean' are the same backbones with the heads for clean images.
        """
        if self.borrows:
            return {'': online}
        backbone, heads = self.encoder.backbone, self.encoder.heads
        found = {'': Network(backbone, heads['head']), 'online': online}
        if self.heads == 'split':
            found['online_clean'] = Network(online.backbone, self.own_clean_head)
            found['momentum_clean'] = Network(backbone, heads['clean'])
        return found

    @torch.no_grad()
    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Compute the block's intermediate maps for a batch that was mixed, and its masks before they are settled.

        Returns:
            'content' (N, 1, h, w), larger where the sample is to be kept; 'attention' (N, 1, h, w), the mean
            attention weight of each position of the sample, 1 if all are equal; 'mask' (N, 1, H, W).
        """
        features, partner, lam = self.features(context.x, context), mix.partner, mix.lam
        content, weights = self.mixer.parts(features[: len(partner)], features[partner], lam)
        attention = weights.mean(1).view_as(content) * weights.shape[2]
        mask = self.draw_mask(features, partner, lam, self.height_and_width(context.x))
        return {'content': content, 'attention': attention, 'mask': mask}
