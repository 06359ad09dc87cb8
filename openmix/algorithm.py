"""The base class of algorithms: the interface of models that training, evaluation and the commands rely on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from openmix.batch import Batch
from openmix.errors import InputError
from openmix.facts import Facts
from openmix.network import HasClasses, Network
from openmix.registry import MODELS, PreprocessorConfig, find


class Algorithm(BaseModel):
    """A training method: its networks, its losses and its predictions.

    Derive from it and implement `loss` and `predict`; the other methods have defaults. `train_step` is never
    overridden, so that mixed precision, gradient accumulation and distributed training work for every algorithm.

    Args:
        data_preprocessor: the preprocessor, or its registry dict; None: mmengine's, which only moves a batch to the
            device.

    Attributes:
        backbone: the trained backbone; `loss` calls it as a module, so that compilation, gradient checkpointing and
            transfer of its weights work.
        answers: the predictions that `predict` returns, such as 'logits', 'embedding' or 'boxes'; a metric declares in
            `reads` which of them it needs.
        small: arguments that make the algorithm small for a smoke run, such as {'queue': 16}.
        equal_buffers: names of own buffers that are equal in all processes because they are computed from
            `gather_rows`, such as a queue and its position; DDP does not broadcast them.
        of_training: names of own modules and buffers that training alone needs, such as a queue or a second head; they
            are resumed, and not published.
    """

    backbone: nn.Module
    answers: ClassVar[frozenset[str]] = frozenset()
    small: ClassVar[dict[str, Any]] = {}
    equal_buffers: ClassVar[frozenset[str]] = frozenset()
    of_training: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, data_preprocessor: PreprocessorConfig | nn.Module | None = None) -> None:
        # Built here, because mmengine looks the name up in its own registry unless a default scope is set.
        built = MODELS.build(data_preprocessor) if isinstance(data_preprocessor, dict) else data_preprocessor
        super().__init__(data_preprocessor=built)

    @classmethod
    def complete(cls, model: dict[str, Any], facts: Facts) -> None:
        """Fill in, in place, the arguments of a recipe's `model` that depend on the training data and are not given.

        The base class fills in the preprocessor's mean and std, where it takes them.

        Args:
            model: registry dict of this algorithm.
            facts: facts of the training data.

        Raises:
            InputError: model and data do not fit each other.
        """
        preprocessor = model.get('data_preprocessor')
        if not isinstance(preprocessor, dict):
            return
        taken = inspect.signature(find(MODELS, preprocessor.get('type'))).parameters
        for key, value in (('mean', facts.mean), ('std', facts.std)):
            if key in taken:
                preprocessor.setdefault(key, value)

    @classmethod
    def check_facts(cls, model: Mapping[str, Any], facts: Facts) -> None:
        """Check a completed `model` against the facts of one of the recipe's data sets; the base class accepts all.

        Raises:
            InputError: the model does not fit the data, such as too few classes; the line names the key of `model`.
        """

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of a preprocessed training batch, scalars by name.

        Values with 'loss' in their name are summed and minimised; the others are diagnostics and are only logged.
        """
        raise NotImplementedError

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses; return the sum and what is recorded: `losses`, in which `loss` is the sum.

        mmengine would record a part that is called `loss` in the place of the sum.
        """
        total, recorded = super().parse_losses(losses)
        return total, {**recorded, 'loss': total}

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the predictions for a preprocessed batch; return them with its `labels` and `ids`, for metrics."""
        raise NotImplementedError

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        """Yield one context per branch that random draws may choose in `loss`; the preflight tries every branch.

        By default, yields one context that changes nothing.
        """
        yield nullcontext()

    def networks(self) -> dict[str, Network]:
        """Return the algorithm's classifiers by name; '' is the evaluated network. There are none by default."""
        return {}

    def network(self, purpose: str) -> Network:
        """Return the evaluated network.

        Args:
            purpose: what needs the classifier, as the error message calls it.

        Raises:
            InputError: the algorithm trains no classifier.
        """
        if (found := self.networks().get('')) is None:
            raise InputError(f'{purpose} needs a classifier, and {type(self).__name__} trains none')
        return found

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if a step may leave trainable parameters without a gradient: DDP then needs `find_unused_parameters`."""
        return False

    @classmethod
    def for_prediction(cls, model: dict[str, Any]) -> None:
        """Change a registry dict, in place, to that of a model that only predicts, without what training alone needs.

        Building it must read no weights; those of a checkpoint are loaded afterwards. The base class changes nothing.

        Args:
            model: registry dict of this class.
        """

    def take_head(self, head: Mapping[str, Tensor], path: Path) -> bool:
        """Take the head of the network whose backbone the run starts from; return whether it was taken.

        Called once, before the first step, where a run starts from a file; the base class leaves the head.

        Args:
            head: weights by name within the network, such as 'head.fc.weight'; empty if the file has no head.
            path: the file.

        Raises:
            InputError: the algorithm needs the head, and it is not there or does not fit.
        """
        return False

    def start(self) -> None:
        """Copy networks, as for momentum encoders. Called once, before the first step, when all weights are loaded."""

    def before_epoch(self, epoch: int) -> None:
        """Update what changes with the epoch, from 0. Called before the first step of an epoch, or of a resumed run."""

    def before_step(self, step: int, steps: int) -> None:
        """Update schedules. Called before iteration `step` of `steps`."""

    def check_data(self, dataset: Any) -> None:
        """Raise an `InputError` if the images do not fit. Called with the training data before the first step."""

    def read_data(self, dataset: Any) -> None:
        """Compute what depends on all training images, once, just before `start`; not in a resumed run.

        In all processes, each with the whole data set. What is computed is kept in buffers.
        """

    def after_step(self) -> None:
        """Update momentum encoders. Called after every optimiser step."""

    def init_weights(self) -> None:
        """Do nothing: every part is initialised, or loads its weights, in its constructor.

        mmengine calls this after construction; its default would reinitialise pretrained parts.
        """

    def forward(
        self, inputs: Any = None, labels: Any = None, ids: Any = None, mode: str = 'tensor', **others: Any
    ) -> Any:
        """Run on a preprocessed batch, whose entries are the arguments.

        Args:
            inputs: (N, 3, H, W) normalised images, or the entry of that name in a batch of this algorithm.
            labels, ids: (N,) int64, if the batch has them.
            mode: 'tensor' returns the (N, C) logits of the evaluated network; 'loss' returns the losses;
                'predict' returns a list with one dict of predictions.
            others: further entries of the batch.

        Raises:
            InputError: another mode, or mode 'tensor' although the algorithm trains no classifier.
        """
        if mode == 'tensor':
            return self.network("mode='tensor'")(inputs)
        given = {'inputs': inputs, 'labels': labels, 'ids': ids}
        batch = {key: value for key, value in given.items() if value is not None} | others
        if mode == 'loss':
            return self.loss(batch)
        if mode == 'predict':
            return [self.predict(batch)]
        raise InputError(f"{type(self).__name__}: mode must be 'tensor', 'predict' or 'loss', got {mode!r}")


def algorithm_of(model: nn.Module) -> Algorithm:
    """Return the algorithm of a runner's model, unwrapping DDP.

    Raises:
        InputError: the model is not an `Algorithm`.
    """
    inner: Any = model.module if is_model_wrapper(model) else model
    if not isinstance(inner, Algorithm):
        raise InputError(
            f'{type(inner).__name__} is no model that can be trained; give it to a MixClassifier as its backbone, '
            'or derive it from openmix.algorithm.Algorithm'
        )
    return inner


def limit_labels(algorithm: Algorithm) -> None:
    """Let a preprocessor that compares labels with `num_classes` do so with the head of the evaluated network.

    Nothing is done if the head does not say how many classes it has.
    """
    preprocessor, network = algorithm.data_preprocessor, algorithm.networks().get('')
    if isinstance(preprocessor, HasClasses) and network is not None and isinstance(network.head, HasClasses):
        preprocessor.num_classes = network.head.num_classes


def logits_of(networks: Mapping[str, Network], x: Tensor) -> dict[str, Tensor]:
    """Compute the (N, C) logits of every network, by name; heads with the same backbone share its forward pass.

    Args:
        networks: see `Algorithm.networks`.
        x: (N, 3, H, W) normalised images.
    """
    features: dict[int, Tensor] = {}
    found = {}
    for name, network in networks.items():
        key = id(network.backbone)
        if key not in features:
            features[key] = network.backbone(x)
        found[name] = network.head(features[key])
    return found
