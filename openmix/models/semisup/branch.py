"""The mixed branch: labelled images mixed with pseudo-labelled ones, beside a method's own losses."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from openmix.algorithm import HasClasses, Network
from openmix.errors import InputError, check_choice, check_number, check_range
from openmix.losses.cross_entropy import mix_ce
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.models.classifier import build_policy, width_of
from openmix.models.heads.linear_head import LinearHead
from openmix.registry import LOSSES, MODELS, HeadConfig, LossConfig, PolicyConfig

_WHOLE = (0.0, 1.0)


class Pairs(NamedTuple):
    """The N pairs that a branch mixes, of M clean images.

    Attributes:
        clean: (M, 3, H, W) normalised; the first N are the samples.
        labels: (M,) int64 labels and pseudo-labels.
        partner: (N,) int64, rows of `clean`.
        rows: (N,) mask of the pairs; None: all count.
    """

    clean: Tensor
    labels: Tensor
    partner: Tensor
    rows: Tensor | None = None


@MODELS.register_module()
class MixedBranch(nn.Module):
    """Options of the mixed branch of a semi-supervised method (Decoupled Mixup, 3.2).

    As many unlabelled images as there are labelled ones are drawn, without repetition if there are enough, and each is
    the partner of a labelled image. Their labels are the method's pseudo-labels; the method's mask leaves out pairs,
    but the loss is still averaged over all. `lam=(0, 0.5)` with `decoupled_ce` and `sides='own'` is the asymmetric
    strategy: the labelled image has the smaller share, and its class alone is decoupled from the pseudo-label.

    As `labelled_branch` they are the options of one that mixes labelled images with a permutation of themselves,
    without a mask, and without a ramp unless one is given.

    *Differs from the paper*, which does not say which unlabelled images are the partners, whether pairs are masked, or
    how the branch is weighted: random images of the weak view, the method's own mask, and a weight of 1.

    Args:
        policy: registry dict of a mixing policy without trained parameters.
        loss: registry dict of a loss that weighs rows; by default the mixed cross-entropy.
        weight: weight of the branch's loss.
        ramp: share of the training over which the weight rises linearly from 0; None: the method's own ramp.
        lam: lowest and highest share of the labelled image, (0, 0.5) in the paper; the policy must be able to keep it
            there. None: as the policy draws it. With Mixup's small alpha many shares are near 0, where the decoupled
            term of the labelled class still has its full weight; (0.001, 0.5) leaves out the smallest.
        view: which view of the partner is mixed, from 0.
        statistics: 'moved': the branch's pass moves batch-norm statistics as any other; 'kept': it does not.
        head: registry dict of a second head, for mixed images only, without a loss of its own; None: the head of the
            clean images.

    Raises:
        InputError: an option is out of range; the policy cannot keep the share of an image in a range although `lam`,
            its own `lam_range` or the one-sided loss asks for it, mixes nothing, or asks for a loss of clean images;
            the loss cannot mask pairs.
    """

    def __init__(
        self,
        policy: PolicyConfig,
        loss: LossConfig | None = None,
        weight: float = 1.0,
        ramp: float | None = None,
        lam: tuple[float, float] | None = None,
        view: int = 0,
        statistics: str = 'moved',
        head: HeadConfig | None = None,
    ) -> None:
        super().__init__()
        check_number('weight', weight, 0.0)
        if ramp is not None:
            check_number('ramp', ramp, 0.0, 1.0)
        if lam is not None:
            check_range('lam', lam, 0.0, 1.0)
        check_number('view', view, 0, 63)
        check_choice('statistics', statistics, ('moved', 'kept'))
        loss = loss or dict(type='mix_ce')
        self.criterion = LOSSES.build(loss)
        if 'rows' not in inspect.signature(self.criterion).parameters:
            raise InputError(
                f"loss: {self.criterion.func.__name__} has no argument 'rows', by which pairs are masked; take another"
            )
        one_sided = loss.get('sides') == 'own'
        self.policy = build_policy('policy', policy).with_choices(lambda one: bounded(one, lam, one_sided))
        self.weight, self.ramp, self.view, self.statistics = weight, ramp, view, statistics
        self.own_head = head
        self.head: nn.Module | None = None

    def attach(self, online: Network) -> None:
        """Build the second head, if there is one, for the features and the classes of the trained network.

        Raises:
            InputError: a second head is given, and has a loss of its own, or the first one does not tell its number of
                classes.
        """
        if self.own_head is not None:
            if not isinstance(online.head, HasClasses):
                raise InputError(f'head: {type(online.head).__name__} tells no num_classes, which both share')
            given = {'in_features': width_of(online.backbone), 'num_classes': online.head.num_classes}
            self.head = MODELS.build({**given, **self.own_head})
            if isinstance(self.head, LinearHead) and not _is_plain(self.head.criterion):
                raise InputError('head: its loss has no effect; give it as the loss of the branch')

    def check_untrained(self) -> None:
        """Raise an `InputError` if the policy is a learned one, whose own loss no branch minimises."""
        if any(parameter.requires_grad for parameter in self.policy.parameters()):
            name = type(self.policy).__name__
            raise InputError(f'policy: {name} trains parameters of its own; take a policy that trains none')

    def loss(self, logits: Tensor, y: Tensor, mix: Mix, rows: Tensor | None) -> Tensor:
        """Compute the loss of the mixed images.

        Args:
            logits: (N, C) of the mixed images.
            y: (M,) int64 labels and pseudo-labels of the clean images.
            mix: how they were mixed.
            rows: (N,) mask of the pairs; None: all count.
        """
        return self.criterion(logits, y, mix, rows=rows)


@contextlib.contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Begin the line of an `InputError` inside the block with the name of a branch, which does not know its own."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{name}: {error}') from error


def _is_plain(criterion: functools.partial) -> bool:
    return criterion.func is mix_ce and not criterion.keywords


def bounded(policy: MixPolicy, lam: tuple[float, float] | None, one_sided: bool) -> MixPolicy:
    """Check a policy that draws from no others; return it with the labelled image's share in the range asked for.

    Args:
        lam: the range; None: the policy's own.
        one_sided: the loss decouples one side only, which presumes that its share is known.

    Raises:
        InputError: the policy mixes nothing, trains clean images, adds losses or chooses partners, or cannot keep the
            share in a range.
    """
    name = type(policy).__name__
    if not policy.mixes:
        raise InputError(f'policy: {name} mixes no images; take a policy that does, or leave the branch out')
    if policy.clean_weight:
        raise InputError(f'policy: {name} has clean_weight={policy.clean_weight}, and a branch trains no clean images')
    if policy.adds_losses:
        raise InputError(
            f'policy: {name} adds losses of the mixed images, and a branch has one loss; take another policy'
        )
    if policy.own_pairs:
        raise InputError(f'policy: {name} chooses the partners of images, and a branch draws them; take another policy')
    narrowed = isinstance(policy, PairPolicy) and (policy.lam_range != _WHOLE or policy.fold)
    if lam is None and not one_sided and not narrowed:
        return policy
    try:
        return policy.within(*(lam or _WHOLE))
    except InputError as error:
        asked = [*(['lam'] if lam else []), *(["sides='own' of loss"] if one_sided else [])]
        asked += ['lam_range or fold of policy'] if narrowed else []
        raise InputError(f'policy: {error}; a range is asked for by {" and ".join(asked)}') from error
