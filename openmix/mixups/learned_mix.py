"""Masks from a network that learns beside the classifier: the base of the policies with a Mix Block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from openmix.algorithm import Network
from openmix.errors import InputError, brief, check_choice, check_number, nearest
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.mix_block import Mixer, adjust_mask, mask_loss
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.ops.ema import frozen_copy
from openmix.ops.precision import no_grad
from openmix.ops.schedules import compounded_cosine, cosine
from openmix.registry import LOSSES, MODELS, find

_SCALE = 2.0**10


class LearnedMix(PairPolicy):
    """Pairs mixed by masks of a Mix Block, which learns in a momentum pipeline (Automatic Mixup, 2.2 and 3).

    A momentum encoder, the moving average of backbone and head, gives the block the features of
    both images. Two tasks share a step, each with pairs and lam of its own:

    - classification: the masks are taken as they are; the classifier learns from the mixed images
      (the loss of the head) and, as `clean_weight` asks, from the un-mixed ones;
    - generation: the mixed images pass through the frozen momentum encoder, and the losses of its answer
      (`mixer_loss`) and of the mask (`mask_loss`) teach the block alone.

    The label share is the drawn lam. It mixes images only. A run is judged by the momentum encoder,
    whichever the policy; the trained classifier is reported beside it as 'online'.

    *Differs from the paper*: every sample has its own lam (`share='batch'` is the published run's one
    a batch). The features' pass stops at `site`, so the momentum encoder's batch norms behind it see
    mixed images only.

    Args:
        mixer: registry dict of the block; 'type' is `MixBlock` by default, `in_channels` is filled in.
        site: module of the backbone whose output the block reads; 'layer3' is the papers' l = 3.
        alpha, share, lam_range, fold: see `PairPolicy`.
        momentum, momentum_end: share of the old value in the moving average, at the start and at the
            end of a half cosine.
        momentum_hold: share of training during which it keeps its start.
        mixer_losses: registry dicts of losses `f(logits, y, mix)` of the momentum encoder's answer, each with a
            `weight` (1 by default), which are summed; None: the cross-entropy `mix_ce`.
        mask_weight: of the mask loss (beta).
        mask_schedule: 'constant'; 'cosine' to zero; 'compounded', the fall to zero within the first
            epochs of the released code (`openmix.ops.schedules.compounded_cosine`).
        mask_margin: how far a mask's mean may be from lam for nothing (epsilon).
        mean_weight, variance_weight: of the two parts of the mask loss.
        adjust_prob: probability that a mask of the classification task is scaled to the mean lam.
        lam_margin: pairs with min(lam, 1 - lam) up to it are interpolated for the classifier, without a mask.
        train_prob: probability that a step trains the block.
        heads: 'shared', or 'split': the un-mixed images have a head of their own, as in the released code.

    Attributes:
        block: what a policy's block has for defaults; `mixer` goes over it.

    Raises:
        InputError: an argument is out of range; when built with a model, the backbone lacks the site;
            in forward, no model was attached.
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
    ) -> None:
        super().__init__(alpha, share, lam_range, fold)
        name = type(self).__name__
        shares = dict(momentum=momentum, momentum_end=momentum_end, momentum_hold=momentum_hold)
        shares |= dict(mask_margin=mask_margin, adjust_prob=adjust_prob, train_prob=train_prob)
        for key, value in shares.items():
            check_number(f'{name}: {key}', value, 0.0, 1.0)
        check_number(f'{name}: lam_margin', lam_margin, 0.0, 0.5)
        for key, value in dict(
            mask_weight=mask_weight, mean_weight=mean_weight, variance_weight=variance_weight
        ).items():
            check_number(f'{name}: {key}', value, 0.0)
        check_choice(f'{name}: mask_schedule', mask_schedule, ['constant', 'cosine', 'compounded'])
        check_choice(f'{name}: heads', heads, ['shared', 'split'])
        if not isinstance(mixer, Mapping | None):
            raise InputError(f"{name}: mixer must be a dict of the block's options, got {brief(mixer)}")
        if not isinstance(site, str):
            raise InputError(f'{name}: site must be the name of a module of the backbone, got {brief(site)}')
        self.mixer_cfg = {'type': 'MixBlock', **self.block, **(mixer or {})}
        known = set(inspect.signature(find(MODELS, self.mixer_cfg['type'])).parameters) - {'in_channels'}
        for key in self.mixer_cfg.keys() - known - {'type'}:
            raise InputError(f"{name}: the mixer has no option '{key}'; {nearest(str(key), known)}")
        self.site_name = site
        self.momentum, self.momentum_end, self.momentum_hold = momentum, momentum_end, momentum_hold
        self.mask_weight, self.mask_schedule, self.mask_margin = mask_weight, mask_schedule, mask_margin
        self.mean_weight, self.variance_weight = mean_weight, variance_weight
        self.adjust_prob, self.lam_margin = adjust_prob, lam_margin
        self.train_prob, self.heads = train_prob, heads
        self.judged_by = _built_losses(name, [{'type': 'mix_ce'}] if mixer_losses is None else mixer_losses)
        self.step, self.steps = 0, 1
        self.feature_site: FeatureSite | None = None

    @property
    def leaves_parameters_unused(self) -> bool:
        """A step that does not train the block leaves its parameters without a gradient."""
        return self.train_prob < 1

    def attach(self, online: Network) -> None:
        """Build the block and the momentum encoder."""
        self.feature_site = FeatureSite(online.backbone, self.site_name)
        mixer = MODELS.build({**self.mixer_cfg, 'in_channels': self.feature_site.channels})
        if not isinstance(mixer, Mixer):
            raise InputError(f'{type(self).__name__}: {type(mixer).__name__} is no mixer; derive it from Mixer')
        self.mixer = mixer
        own = {}
        if self.heads == 'split':
            self.own_clean_head = frozen_copy(online.head).requires_grad_(True)
            own['clean'] = self.own_clean_head
        self.encoder = MomentumEncoder(online.backbone, head=online.head, **own)

    def start(self, online: Network) -> None:
        """Copy the weights of the network that is trained into the momentum encoder."""
        own = {}
        if self.heads == 'split':
            self.own_clean_head.load_state_dict(online.head.state_dict())
            own['clean'] = self.own_clean_head
        self.encoder.start(online.backbone, head=online.head, **own)

    def before_step(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Mix for the classification task; see `MixPolicy.forward`. No gradient reaches the block."""
        size = self.grid(z)
        partner = self.draw_pairs(z, pairs)
        lam = self.draw_lam(len(partner), z.device)
        with no_grad():
            mask = self.settle(self.draw_mask(self.features(z, context), partner, lam, size), lam)
        mix = Mix.pairs(partner, lam, mask)
        return mix.blend(z), mix

    @torch.no_grad()
    def features(self, z: Tensor, context: MixContext | None) -> Tensor:
        """(M, C, h, w) of the images at the site of the momentum encoder; once a batch.

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
        """(N, 1, H, W) masks of the block for (M, C, h, w) features."""
        return self.mixer(features[: len(partner)], features[partner], lam, size)

    def settle(self, mask: Tensor, lam: Tensor) -> Tensor:
        """Masks as the classifier gets them: some scaled to the mean lam, some plain interpolation."""
        if self.adjust_prob > 0:
            drawn = torch.rand(1 if self.share == 'batch' else len(lam), 1, 1, 1, device=lam.device)
            mask = torch.where(drawn < self.adjust_prob, adjust_mask(mask, lam), mask)
        if self.lam_margin > 0:
            plain = torch.minimum(lam, 1 - lam) <= self.lam_margin
            mask = torch.where(plain[:, None, None, None], lam[:, None, None, None], mask)
        return mask

    def own_losses(self, context: MixContext) -> dict[str, Tensor]:
        """The two losses of the generation task, in the steps that train the block.

        Raises:
            InputError: the context has no labels.
        """
        if context.y is None:
            raise InputError(f'{type(self).__name__}: to learn, the context needs labels: MixContext(x, y)')
        learns = self.train_prob == 1 or float(torch.rand(())) < self.train_prob
        return self.generation_losses(context.x, context.y, context) if learns else {}

    def clean_head(self, head: nn.Module) -> nn.Module:
        return self.own_clean_head if self.heads == 'split' else head

    def generation_losses(self, x: Tensor, y: Tensor, context: MixContext | None = None) -> dict[str, Tensor]:
        """The losses that train the block alone: 'mixer_loss' and 'mask_loss', scalars.

        Args:
            x: (N, 3, H, W) un-mixed images.
            y: (N,) int64.
        """
        partner = self.draw_pairs(x, None)
        lam = self.draw_lam(len(partner), x.device)
        mask = self.draw_mask(self.features(x, context), partner, lam, self.grid(x))
        of_mask = mask_loss(mask, lam, self.mask_margin, self.mean_weight, self.variance_weight)
        loss, slope = self.judge(x, y, Mix.pairs(partner, lam, mask.detach()))
        # The value of the loss with the gradient that came back through the momentum encoder.
        linear = (mask * slope).sum()
        return {'mixer_loss': loss + linear - linear.detach(), 'mask_loss': self.mask_weight_now() * of_mask}

    @torch.enable_grad()
    def judge(self, x: Tensor, y: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
        """The loss of the momentum encoder's answer to a mixed batch, detached, and its gradient at the mask.

        Taken at once, so that the encoder's activations are freed before the classifier's arise.
        """
        mask = cast(Tensor, mix.mask).requires_grad_()
        logits = self.encoder(mix.blend(x))
        first, *others = (weight * loss(logits, y, mix) for loss, weight in self.judged_by)
        loss = sum(others, first)
        # In float16 small gradients would be lost before the optimiser's scaling sees them.
        (slope,) = torch.autograd.grad(loss * _SCALE, mask)
        return loss.detach(), slope / _SCALE

    def momentum_now(self) -> float:
        """Share of the old value at this iteration."""
        progress = self.step / self.steps
        return self.momentum if progress < self.momentum_hold else cosine(self.momentum, self.momentum_end, progress)

    def mask_weight_now(self) -> float:
        """Weight of the mask loss at this iteration."""
        if self.mask_schedule == 'constant':
            return self.mask_weight
        if self.mask_schedule == 'cosine':
            return cosine(self.mask_weight, 0.0, self.step / self.steps)
        return self.mask_weight * compounded_cosine(self.step, self.steps)

    def after_step(self, online: Network) -> None:
        """Move the momentum encoder, and put the block's bounded parameters back into their range."""
        own = {'clean': self.own_clean_head} if self.heads == 'split' else {}
        self.encoder.follow(self.momentum_now(), online.backbone, head=online.head, **own)
        self.mixer.project()

    def networks(self, online: Network) -> dict[str, Network]:
        """The momentum encoder under '', the trained network as 'online'; with split heads those of un-mixed images."""
        backbone, heads = self.encoder.backbone, self.encoder.heads
        found = {'': Network(backbone, heads['head']), 'online': online}
        if self.heads == 'split':
            found['online_clean'] = Network(online.backbone, self.own_clean_head)
            found['momentum_clean'] = Network(backbone, heads['clean'])
        return found

    @torch.no_grad()
    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """The block's work on a batch that was mixed, before its masks were settled.

        Returns:
            'content' (N, 1, h, w), larger where the sample is to be kept; 'attention' (N, 1, h, w),
            the mean weight of each place of the sample, 1 if all weigh alike; 'mask' (N, 1, H, W).
        """
        features, partner, lam = self.features(context.x, context), mix.partner, mix.lam
        content, weights = self.mixer.parts(features[: len(partner)], features[partner], lam)
        attention = weights.mean(1).view_as(content) * weights.shape[2]
        mask = self.draw_mask(features, partner, lam, self.grid(context.x))
        return {'content': content, 'attention': attention, 'mask': mask}


def _built_losses(name: str, losses: Sequence[dict]) -> list[tuple[Callable[[Tensor, Tensor, Mix], Tensor], float]]:
    """Losses of a list of registry dicts, and their weights."""
    if isinstance(losses, str) or not isinstance(losses, Sequence) or not losses:
        raise InputError(f"{name}: mixer_losses must be a list such as [dict(type='mix_ce')], got {brief(losses)}")
    found = []
    for loss in losses:
        if not isinstance(loss, Mapping):
            raise InputError(
                f"{name}: mixer_losses must be a list such as [dict(type='mix_ce')], got {brief(loss)} in it"
            )
        given = dict(loss)
        weight = given.pop('weight', 1.0)
        check_number(f'{name}: mixer_losses: weight', weight, 0.0)
        found.append((LOSSES.build(given), weight))
    return found
