"""Parts of contrastive methods: views, projectors and partners."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.losses.labels import at_least_float32
from openmix.mixups.base import MixPolicy
from openmix.ops.batches import what
from openmix.ops.pairs import other_partners


def two_views(name: str, inputs: Any) -> tuple[Tensor, Tensor]:
    """Return the query and the key view of images (N, 2, 3, H, W).

    Raises:
        InputError: the images have another shape.
    """
    if not isinstance(inputs, Tensor) or inputs.dim() != 5 or inputs.shape[1] != 2:
        raise InputError(
            f'{name} reads two views of every image, (N, 2, 3, H, W), got {what(inputs)}; make them with '
            'BatchMultiView in augment of the preprocessor, or with MultiView at the end of the pipeline'
        )
    return inputs[:, 0], inputs[:, 1]


def projector_of(features: int, hidden: int, width: int, norm: bool = False) -> nn.Sequential:
    """Make a projector of two linear layers with a ReLU, and a batch norm if wanted, between them."""
    layers = [nn.Linear(features, hidden), *([nn.BatchNorm1d(hidden)] if norm else [])]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Linear(hidden, width))


def unit(embedding: Tensor) -> Tensor:
    """Normalise (N, P) embeddings to length 1, in at least float32."""
    return F.normalize(at_least_float32(embedding), dim=1)


def partners_of(kind: str, n: int, device: torch.device) -> Tensor:
    """Return (n,) int64 partners: 'other', 'permuted' or 'reversed', see `MoCo`."""
    if kind == 'reversed':
        return torch.arange(n - 1, -1, -1, device=device)
    return other_partners(n, device) if kind == 'other' else torch.randperm(n, device=device)


def check_policy(name: str, policy: MixPolicy, offered: Collection[str] = ()) -> None:
    """Check that a policy mixes images without labels and without training on clean ones.

    Args:
        name: the algorithm, for the message.
        policy: the policy.
        offered: names of the targets that a learned policy may train its mixer with.

    Raises:
        InputError: it, or one of the policies that it draws from, does not.
    """

    def checked(one: MixPolicy) -> MixPolicy:
        kind = type(one).__name__
        if not one.mixes:
            raise InputError(f'{name}: {kind} mixes nothing; leave policy out')
        if one.adds_losses:
            raise InputError(f'{name}: {kind} adds losses of labels, and there are none; take another policy')
        if one.own_pairs:
            raise InputError(
                f'{name}: {kind} chooses the partners of images, and {name} draws them (partners); take a policy that '
                'does not choose'
            )
        if one.targets and (missing := sorted(one.targets - set(offered))):
            has = ', '.join(sorted(offered)) or 'none'
            raise InputError(
                f"{name}: mixer_losses of {kind} are of '{missing[0]}', and there are no such targets, but {has}; "
                "take for example mixer_losses=[dict(type='info_nce', of='queue')]"
            )
        if one.clean_weight and not one.targets:
            raise InputError(f'{name}: {kind} trains on labels of clean images, and there are none')
        return one

    policy.with_choices(checked)


def all_targets(policy: MixPolicy | None) -> frozenset[str]:
    """Return the names of the targets of a policy and of all that it draws from."""
    found: set[str] = set()

    def seen(one: MixPolicy) -> MixPolicy:
        found.update(one.targets)
        return one

    if policy is not None:
        policy.with_choices(seen)
    return frozenset(found)
