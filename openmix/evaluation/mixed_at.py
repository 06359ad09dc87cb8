"""Mix given pairs with a given lam, as to compare policies or networks on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.models.preprocessor import ImagePreprocessor


@runtime_checkable
class Mixing(Protocol):
    """An algorithm with one policy; it is None where only clean images are trained on."""

    policy: MixPolicy | None
    data_preprocessor: Any

    def context(self, x: Tensor, y: Tensor | None) -> MixContext: ...


def mixed_at(
    owner: str,
    policy: MixPolicy,
    context: MixContext,
    preprocessor: ImagePreprocessor,
    partner: Tensor,
    lams: Sequence[float],
    seed: int,
) -> Tensor:
    """Mix pairs of a batch at each lam, with otherwise equal random draws.

    Args:
        owner: start of an error line.
        policy: what mixes them.
        context: of the batch (N, 3, H, W).
        preprocessor: whose normalisation is undone.
        partner: (n,) int64, the partner of each of the first n images.
        lams: L values of lam.
        seed: of the draws at each lam.

    Returns:
        (n, L, 3, H, W) images in [0, 1].

    Raises:
        InputError: the policy draws no lam.
    """
    if not isinstance(policy, PairPolicy):
        raise InputError(f'{owner} needs a policy that draws lam for a pair; {type(policy).__name__} does not')
    images = []
    for lam in lams:
        torch.manual_seed(seed)
        with torch.no_grad():
            mixed, _ = policy.holding(lam)(context.x, context, partner)
        images.append(preprocessor.denormalize(mixed))
    return torch.stack(images, 1)
