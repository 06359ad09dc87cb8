"""ReMixMatch (Berthelot et al., ICLR 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.algorithm import HasClasses
from openmix.batch import LABELLED
from openmix.errors import InputError, brief, check_choice, check_number
from openmix.losses.cross_entropy import mix_ce
from openmix.models.classifier import width_of
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.pool_mix import draw_mix, logits_in_parts, rows_of
from openmix.models.semisup.targets import PseudoLabels, cross_entropy, probabilities, sharpen
from openmix.ops.gather import gather_rows
from openmix.ops.kept_buffers import KeptBuffers
from openmix.ops.precision import no_grad
from openmix.registry import MODELS

TURNS = 4


class _Pool(Protocol):
    labels: Tensor


@runtime_checkable
class HasPools(Protocol):
    """A data set of several pools; `parts` has them by name."""

    parts: Mapping[str, _Pool]


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate images (N, C, S, S), each by its number of quarter turns (N,) int64 in 0 to 3."""
    every = torch.stack([x.rot90(k, (2, 3)) for k in range(TURNS)], 1)
    return every[torch.arange(len(x), device=x.device), turns]


@MODELS.register_module()
class ReMixMatch(SemiSupervised):
    """MixMatch with strong views, distribution alignment and a rotation task.

    The target q of an unlabelled image is the prediction for its weak view, times the label distribution over the
    running mean of predictions, normalised and sharpened (3.1). Labelled images, two strong views and the weak view are
    mixed with a permutation of themselves. The loss is CE of the mixed labelled images + match_weight * r * CE of the
    mixed unlabelled images + view_weight * r * CE of the first strong view as it is, all towards their targets, +
    rotation_weight * CE of a second head that tells by how much that view is rotated (3.3); r rises linearly.

    The running mean is over all processes, moves before it is used, and starts as the mean of the first batch. The
    mixed images pass in interleaved sub-batches, of which the first alone moves batch-norm statistics, as no other pass
    does.

    *Differs from the paper*: a moving average instead of the mean over 128 batches; the strong views are whatever the
    recipe makes them, not CTAugment; one lam for a batch (`share`), and the ramp as a share of the training (1/64 of
    2^20 is 16,384 steps), as in TorchSSL. The label distribution is given, not estimated. `mask_rate` is not recorded.

    Args:
        temperature: of the sharpening, > 0; below 1 it sharpens.
        alpha: lam ~ Beta(alpha, alpha), > 0.
        share: 'batch' draws one lam for a batch, 'sample' one for each image.
        match_weight, view_weight: weights of two losses at the end of the ramp.
        rotation_weight: weight of the rotation task.
        ramp: share of the training over which they rise, in [0, 1]; 0: no ramp.
        momentum: of the running mean, the weight of the old value, in [0, 1).
        label_distribution: C shares of the classes among the unlabelled images, which sum to 1; 'uniform': equal
            shares, whatever the labelled images have; None: equal shares, and labelled images with others are refused.
        kwargs: see `SemiSupervised`.

    Raises:
        InputError: an option is out of range, or the head does not tell its number of classes; in `losses`, images that
            are not square; in `check_data`,
            classes with unequal numbers of labelled images and no `label_distribution`.
    """

    views = ('weak', 'strong', 'strong')
    small = {'label_distribution': 'uniform'}  # too few images for every class
    equal_buffers = frozenset({'running_mean', 'started'})
    of_training = frozenset({'running_mean', 'started', 'rotation_head'})
    running_mean: Tensor
    started: Tensor
    label_distribution: Tensor

    def __init__(
        self,
        temperature: float = 0.5,
        alpha: float = 0.75,
        share: str = 'batch',
        match_weight: float = 1.5,
        view_weight: float = 0.5,
        rotation_weight: float = 0.5,
        ramp: float = 1 / 64,
        momentum: float = 0.999,
        label_distribution: Sequence[float] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(f'{name}: temperature', temperature, 0.0, above=True)
        check_number(f'{name}: alpha', alpha, 0.0, above=True)
        check_choice(f'{name}: share', share, ('batch', 'sample'))
        for key, weight in (('match', match_weight), ('view', view_weight), ('rotation', rotation_weight)):
            check_number(f'{name}: {key}_weight', weight, 0.0)
        check_number(f'{name}: ramp', ramp, 0.0, 1.0)
        check_number(f'{name}: momentum', momentum, 0.0, 1.0, below=True)
        if not isinstance(self.head, HasClasses):
            raise InputError(f'{name}: {type(self.head).__name__} has no num_classes, the classes of the running mean')
        classes, self.is_given = self.head.num_classes, label_distribution is not None
        if isinstance(label_distribution, str):
            check_choice(f'{name}: label_distribution', label_distribution, ('uniform',))
        equal = label_distribution is None or isinstance(label_distribution, str)
        shares: list[Any] = [1 / classes] * classes if equal else [*(label_distribution or ())]
        for value in shares:
            check_number(f'{name}: every number of label_distribution', value, 0.0, 1.0, above=True)
        if len(shares) != classes or not math.isclose(sum(shares), 1, abs_tol=1e-4):
            raise InputError(
                f'{name}: label_distribution must be {classes} shares that sum to 1, got {brief(label_distribution)}'
            )
        self.temperature, self.alpha, self.share, self.ramp, self.momentum = temperature, alpha, share, ramp, momentum
        self.match_weight, self.view_weight, self.rotation_weight = match_weight, view_weight, rotation_weight
        self.rotation_head = nn.Linear(width_of(self.backbone), TURNS)
        nn.init.xavier_normal_(self.rotation_head.weight)
        nn.init.zeros_(self.rotation_head.bias)
        self.register_buffer('label_distribution', torch.tensor(shares), persistent=False)
        self.register_buffer('running_mean', torch.zeros(classes))
        self.register_buffer('started', torch.tensor(False))

    def check_data(self, dataset: Any) -> None:
        """Check that classes have equally many labelled images, unless their shares are given.

        Raises:
            InputError: they have not.
        """
        if self.is_given or not isinstance(dataset, HasPools):
            return
        counts = dataset.parts[LABELLED].labels.bincount(minlength=len(self.label_distribution))
        if counts.min() != counts.max():
            raise InputError(
                f'{type(self).__name__}: the classes have {int(counts.min())} to {int(counts.max())} labelled images; '
                "give their shares, or 'uniform', as label_distribution, or equally many of each"
            )

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        network, b = self.online(), len(x)
        weak, strong, other = views
        if strong.shape[2] != strong.shape[3]:
            size = f'{strong.shape[2]}x{strong.shape[3]}'
            raise InputError(f'{type(self).__name__} rotates images by quarter turns, and these are {size}, not square')
        with no_grad(), KeptBuffers(network):
            q = self.targets_of(probabilities(network(weak)))
        targets = torch.cat([F.one_hot(y, q.shape[1]).to(q.dtype), q, q, q])
        mix = draw_mix(len(targets), self.alpha, self.share, x.device)
        logits = logits_in_parts(network, mix.blend(torch.cat([x, strong, other, weak])), b)
        turns = torch.randint(TURNS, (len(strong),), device=x.device)
        with KeptBuffers(network):
            of_strong = network(strong)
            of_rotated = self.rotation_head(self.backbone(rotated(strong, turns)))
        rise = self.rise(self.ramp)
        return {
            'labelled_loss': self.head.loss(logits[:b], targets, rows_of(mix, slice(0, b))),
            'match_loss': self.match_weight * rise * mix_ce(logits[b:], targets, rows_of(mix, slice(b, None))),
            'view_loss': self.view_weight * rise * cross_entropy(of_strong, q),
            'rotation_loss': self.rotation_weight * cross_entropy(of_rotated, turns),
        }, PseudoLabels(q.argmax(1))

    def targets_of(self, p: Tensor) -> Tensor:
        """Move the running mean by (U, C) predictions; return the (U, C) targets, aligned and sharpened."""
        batch_mean = gather_rows(p).mean(0).to(self.running_mean.dtype)
        moved = torch.lerp(batch_mean, self.running_mean, self.momentum)
        self.running_mean.copy_(torch.where(self.started, moved, batch_mean))
        self.started.fill_(True)
        aligned = p * (self.label_distribution / self.running_mean)
        return sharpen(aligned / aligned.sum(1, keepdim=True), self.temperature)
