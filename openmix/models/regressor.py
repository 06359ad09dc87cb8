"""A regression that is trained on mixed batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from openmix.algorithm import Network
from openmix.batch import Batch
from openmix.errors import InputError, check_number
from openmix.facts import Facts
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.models.classifier import MixClassifier
from openmix.models.heads.regression_head import RegressionHead
from openmix.registry import MODELS


@runtime_checkable
class Numbered(Protocol):
    """Training images with numbers: (N, K), and their names."""

    known: Facts
    numbers: Tensor


@MODELS.register_module()
class MixRegressor(MixClassifier):
    """A backbone and a `RegressionHead` that are trained on mixed batches, with mixed numbers as labels.

    Numbers are standardised by mean and standard deviation of the training data, which are saved with the weights; what
    is predicted and measured is in the unit of the data. Policies see the standardised numbers, so that a bandwidth of
    distances between labels is in standard deviations. Policies that read classes or the classifier, and learned ones,
    are refused.

    Args:
        kwargs: see `MixClassifier`; the head is a `RegressionHead`.

    Raises:
        InputError: see `MixClassifier`; or the head or the policy is one of classes, or ten crops are asked for.
    """

    answers = frozenset({'values'})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.head, RegressionHead):
            raise InputError(f'MixRegressor: the head must be a RegressionHead, got {type(self.head).__name__}')
        if self.ten_crop is not None:
            raise InputError('MixRegressor: ten_crop sums logits of classes; leave it out')
        if any(parameter.requires_grad for parameter in self.policy.parameters()):
            raise InputError(
                f'MixRegressor: {type(self.policy).__name__} is learned, and trains its mixer by classes; take one '
                'without parameters'
            )

        for one in self.policy.modules():
            if isinstance(one, MixPolicy) and one.adds_losses:
                raise InputError(f'MixRegressor: {type(one).__name__} adds losses of classes; take another policy')

    @classmethod
    def size_head(cls, head: dict[str, Any], facts: Facts) -> None:
        head.setdefault('num_outputs', max(1, len(facts.targets)))

    @classmethod
    def check_facts(cls, model: Mapping[str, Any], facts: Facts) -> None:
        """Check that the data have as many numbers as the head.

        Raises:
            InputError: they have none, or another number of them.
        """
        if not facts.targets:
            raise InputError(
                f'model: MixRegressor learns numbers, and the data of {facts.name} have classes or no labels; take '
                "data with numbers, or type='MixClassifier'"
            )
        given = (model.get('head') or {}).get('num_outputs')
        check_number('model: head.num_outputs', given, 1)
        if given != len(facts.targets):
            raise InputError(
                f'model: head.num_outputs is {given}, but the data of {facts.name} have {len(facts.targets)} numbers; '
                'leave it out and the data set it'
            )

    def check_data(self, dataset: Any) -> None:
        """Check that the training images have different numbers.

        Raises:
            InputError: they have none, or one is the same everywhere.
        """
        if not isinstance(dataset, Numbered):
            raise InputError('MixRegressor: the training data have no numbers')
        for name, spread in zip(dataset.known.targets, dataset.numbers.std(0, correction=0).tolist()):
            if not spread:
                raise InputError(f'MixRegressor: {name} is the same number in all training images')

    def read_data(self, dataset: Any) -> None:
        """Set mean and standard deviation of the head to those of the training data's numbers."""
        numbers = dataset.numbers.double()
        self.head.mean.copy_(numbers.mean(0))
        self.head.std.copy_(numbers.std(0, correction=0))

    def context(self, x: Tensor, y: Tensor | None) -> MixContext:
        """Make the `MixContext` of a batch with its standardised numbers, and without a classifier or classes."""
        found = super().context(x, None)
        found.network = None
        found.numbers = None if y is None else self.head.standardised(y)
        return found

    def losses_of(self, context: MixContext) -> dict[str, Tensor]:
        """Compute the loss of the mixed images of a context, and of the clean ones if the policy asks for it."""
        assert context.numbers is not None
        mixed = self.mixed(context)
        losses = {'loss': self.head.loss(self.head(mixed.features), context.numbers, mixed.mix)}
        if mixed.policy.clean_weight:
            losses['clean_loss'] = mixed.policy.clean_weight * self.clean_loss(context, mixed.policy)
        return losses

    def clean_loss(self, context: MixContext, policy: MixPolicy) -> Tensor:
        outputs = self.head(self.backbone(context.x))
        return self.head.loss(outputs, context.numbers, Mix.none(len(context.x), context.x.device))

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the values (N, K) of a clean batch, in the unit of the data."""
        values = self.head.values(self.head(self.backbone(batch['inputs'])))
        return dict(values=values, labels=batch.get('labels'), ids=batch.get('ids'))

    def networks(self) -> dict[str, Network]:
        """Return an empty dict, for there is no classifier."""
        return {}
