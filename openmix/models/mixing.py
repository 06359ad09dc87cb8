"""Mixing inside of a forward pass, for every algorithm that mixes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.models.sites import Sites


class Mixed(NamedTuple):
    """A batch that went through a backbone and was mixed on its way.

    Attributes:
        features: (N, D) what the backbone put out.
        mix: how the batch was mixed.
        policy: that mixed it: of several, the one drawn.
        site: where; '' is the input.
        tensor: (N, ...) the mixed tensor there.
    """

    features: Tensor
    mix: Mix
    policy: MixPolicy
    site: str
    tensor: Tensor


def mixed_features(
    backbone: nn.Module, sites: Sites, policy: MixPolicy, context: MixContext, pairs: Tensor | None = None
) -> Mixed:
    """Mix a batch where its policy wants it, and run the backbone on it.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        sites: hooks of that backbone, at all sites of the policy.
        policy: it, or the one that it picks, mixes at the site that it picks.
        context: the un-mixed batch of M images.
        pairs: (N,) int64 partners, see `MixPolicy.forward`; None: the policy draws them.
    """
    picked, site = policy.pick()
    found: list[tuple[Tensor, Mix]] = []

    def mix_here(z: Tensor) -> Tensor:
        found.append(picked(z, context, pairs))
        return found[-1][0]

    if site == '':
        features = backbone(mix_here(context.x))
    else:
        with sites.armed(site, mix_here):
            features = backbone(context.x)
    ((tensor, mix),) = found
    return Mixed(features, mix, picked, site, tensor)
