"""AutoMix (Liu et al., ECCV 2022)."""

from __future__ import annotations

from openmix.mixups.learned_mix import LearnedMix
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class AutoMix(LearnedMix):
    """Mix pairs with masks from a Mix Block: lam as a channel, linear content, cross-attention, nearest upsampling.

    The settings are those of the baseline in Automatic Mixup (3.2, Table 8). See `LearnedMix` for the training
    and `MixBlock` for `mixer`.

    *Published*: one lam per batch, a separate head for clean images, a momentum that is constant for the
    first tenth of training and ends just below 1, interpolation where min(lam, 1 - lam) <= 0.08, and a mask loss in
    every step, also where `train_prob` is below 1. The runs on CIFAR-100 and Tiny-ImageNet do not encode lam:
    `mixer=dict(lam_encoding='none')`. The other runs decay the mask loss: `mask_schedule='compounded'`.
    """

    published = {
        'share': 'batch',
        'heads': 'split',
        'momentum_end': 0.999999,
        'momentum_hold': 0.1,
        'lam_margin': 0.08,
        'skips': 'mixer_loss',
    }
