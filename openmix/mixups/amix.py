"""AMix (Improving Discriminative Visual Representation Learning via Automatic Mixup)."""

from __future__ import annotations

from typing import Any

from openmix.mixups.learned_mix import LearnedMix
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class AMix(LearnedMix):
    """Mix pairs with masks from a Mix Block+ (3.2, Eq. 5), whose mask loss also rewards variance.

    The rows of the paper's Table 8 are options of `mixer`, `mean_weight` and `variance_weight`. Its last row
    is `adjust_prob=1`, which is off by default because it lowers accuracy in supervised training.

    *Published*: one lam per batch, interpolation where min(lam, 1 - lam) <= 0.08, and a mask loss in every step,
    as in the released configs and code; the policy `SAMix` has the other released settings.

    Args:
        mixer: options that override those of the Mix Block+.
        variance_weight: weight of the reward for the masks' variance.
        kwargs: other arguments of `LearnedMix`.
    """

    published = {'share': 'batch', 'lam_margin': 0.08, 'skips': 'mixer_loss'}
    block = {'lam_encoding': 'adaptive', 'content': 'nonlinear', 'attention': 'self', 'upsampling': 'bilinear'}

    def __init__(self, mixer: dict | None = None, variance_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(mixer, variance_weight=variance_weight, **kwargs)
