"""AMix (Improving Discriminative Visual Representation Learning via Automatic Mixup)."""

from __future__ import annotations

from typing import Any

from openmix.mixups.learned_mix import LearnedMix
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class AMix(LearnedMix):
    """Masks by a Mix Block+ (3.2, Eq. 5) with the variance in the mask loss.

    The rows of Table 8 are options of `mixer`, `mean_weight`, `variance_weight` and, the last, which
    lowers accuracy in supervised runs and is off, `adjust_prob=1`.

    *Published*: `share='batch'`; the rest of the released settings is the policy `SAMix`.

    Args:
        mixer: changes to the Mix Block+.
        variance_weight: of the masks' variance, which is rewarded.
        kwargs: of `LearnedMix`.
    """

    published = {'share': 'batch'}
    block = {'lam_encoding': 'adaptive', 'content': 'nonlinear', 'attention': 'self', 'upsampling': 'bilinear'}

    def __init__(self, mixer: dict | None = None, variance_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(mixer, variance_weight=variance_weight, **kwargs)
