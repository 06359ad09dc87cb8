"""SAMix (Li et al., 2021): the released settings of the method that its paper calls AMix."""

from __future__ import annotations

from typing import Any

from openmix.mixups.learned_mix import LearnedMix
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class SAMix(LearnedMix):
    """Mix pairs with masks from a Mix Block+ with the options and loss weights of the published runs.

    Options that depend on the data set are set in recipes: `mixer=dict(lam_rescale=0.25)` on CIFAR-100, 1 on
    fine-grained sets; `adjust_prob=0.25` with ResNet-18 on CIFAR-100; `mixer=dict(dropout=0.1)` and
    `mask_schedule='compounded'` on larger images; `train_prob=0.8` for transformers on ImageNet.

    *Differs from the released code*: the mask loss uses the mean and variance of each mask, not of the whole
    batch; masks are adjusted with the lam that they were predicted for.

    Args:
        mixer: options that override those of the released block.
        variance_weight, lam_margin, momentum_end, momentum_hold, heads: see `LearnedMix`.
        kwargs: other arguments of `LearnedMix`.
    """

    published = {'share': 'batch', 'skips': 'mixer_loss'}
    block = {
        'lam_encoding': 'adaptive',
        'gamma': 1.0,
        'content': 'nonlinear',
        'activation': 'elu',
        'dropout': 0.0,
        'attention': 'self',
        'projection': 'split',
        'upsampling': 'bilinear_logits',
    }

    def __init__(
        self,
        mixer: dict | None = None,
        variance_weight: float = 2.0,
        lam_margin: float = 0.08,
        momentum_end: float = 0.999999,
        momentum_hold: float = 0.1,
        heads: str = 'split',
        **kwargs: Any,
    ) -> None:
        super().__init__(
            mixer,
            variance_weight=variance_weight,
            lam_margin=lam_margin,
            momentum_end=momentum_end,
            momentum_hold=momentum_hold,
            heads=heads,
            **kwargs,
        )
