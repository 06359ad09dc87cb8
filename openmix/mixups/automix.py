"""AutoMix (Liu et al., ECCV 2022)."""

from __future__ import annotations

from openmix.mixups.learned_mix import LearnedMix
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class AutoMix(LearnedMix):
    """Masks by a Mix Block: lam as a channel, linear content, cross-attention, nearest upsampling.

    As the baseline of Automatic Mixup describes it (3.2, Table 8). See `LearnedMix` for the pipeline
    and `MixBlock` for `mixer`.

    *Published*: one lam a batch, heads of their own for un-mixed images, a momentum that is held for
    a tenth of training and ends just below 1. The runs on CIFAR-100 and Tiny-ImageNet encode no lam:
    `mixer=dict(lam_encoding='none')`; the others let the mask loss fall: `mask_schedule='compounded'`.
    """

    published = {'share': 'batch', 'heads': 'split', 'momentum_end': 0.999999, 'momentum_hold': 0.1}
