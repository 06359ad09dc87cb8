"""Mixing inside a backbone's forward pass, for every algorithm that mixes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from openmix.mix import Mix
from openmix.mixups.attention import attention_in
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.models.sites import Sites


class Mixed(NamedTuple):
    """The result of running a backbone on a batch that was mixed at its input or at a site inside.

    Attributes:
        features: (N, D) output of the backbone.
        mix: how the batch was mixed, with the label shares that the policy has settled.
        policy: the policy that mixed it; with `OneOf`, the child that was drawn.
        site: the site where it was mixed; '' is the input.
        tensor: (N, ...) the mixed tensor at the site.
        seen: the context of the mixed images, with the outputs of this pass.
    """

    features: Tensor
    mix: Mix
    policy: MixPolicy
    site: str
    tensor: Tensor
    seen: MixContext


def mixed_features(
    backbone: nn.Module, sites: Sites, policy: MixPolicy, context: MixContext, pairs: Tensor | None = None
) -> Mixed:
    """Run the backbone on a batch that is mixed at the site drawn by the policy, which then settles the label shares.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        sites: hooks of that backbone, at all sites of the policy and all modules whose attention or output it reads.
        policy: the policy whose `pick` gives the policy and the site.
        context: the clean batch of M images.
        pairs: (N,) int64 partners, see `MixPolicy.forward`; None: the policy draws them.
    """
    picked, site = policy.pick()
    found: list[tuple[Tensor, Mix]] = []

    def mix_here(z: Tensor) -> Tensor:
        found.append(picked(z, context, pairs))
        return found[-1][0]

    with (
        context.settling(later=True),
        sites.watching(picked.attention_sites()) as calls,
        sites.keeping(picked.output_sites()) as outputs,
    ):
        if site == '':
            features = backbone(mix_here(context.x))
        else:
            with sites.armed(site, mix_here):
                features = backbone(context.x)
    ((tensor, mix),) = found
    seen = context.of_mixed(tensor)
    seen.keep_outputs({**outputs, '': features})
    for name, call in calls.items():
        seen.keep_attention(name, attention_in(backbone, name, call))
    return Mixed(features, picked.settled(mix, context, seen), picked, site, tensor, seen)
