"""The contract of an algorithm: all that training, evaluation and the commands ask of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.facts import Facts
from openmix.registry import MODELS, ModelConfig

# A preprocessed batch, see docs/design.md.
Batch = dict[str, Any]


@runtime_checkable
class HasClasses(Protocol):
    """A head, or a whole classifier, that says how many classes its logits have."""

    num_classes: int


class Network(nn.Module):
    """A backbone and a head: (N, 3, H, W) normalised images to (N, C) logits.

    It holds the modules that it is given, and no copies. An algorithm makes one when it is asked, and keeps none:
    its parameters would stand in checkpoints twice.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        head: (N, D) -> (N, C).
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class Algorithm(BaseModel):
    """A method of training: its networks, its losses and its answers.

    Derive from it and write `loss` and `predict`; the rest has defaults. `train_step` is never overridden, so that
    mixed precision, accumulation and several processes work for every algorithm alike.

    Args:
        data_preprocessor: registry dict of the preprocessor, or the preprocessor; None: mmengine's, which only moves
            a batch to the device.

    Attributes:
        backbone: the network that is trained; `loss` calls it as a module, so that compilation, gradient
            checkpointing and transfer of its weights work.
        answers: what `predict` gives, such as 'logits', 'embedding' or 'boxes'; a metric says in `reads` what it needs.
        small: arguments that make the algorithm tiny for a smoke run, such as {'queue': 16}.
    """

    backbone: nn.Module
    answers: ClassVar[frozenset[str]] = frozenset()
    small: ClassVar[dict[str, Any]] = {}

    def __init__(self, data_preprocessor: ModelConfig | nn.Module | None = None) -> None:
        # mmengine would look the name up in its own registry unless a default scope is set.
        built = MODELS.build(data_preprocessor) if isinstance(data_preprocessor, dict) else data_preprocessor
        super().__init__(data_preprocessor=built)

    @classmethod
    def complete(cls, model: dict[str, Any], facts: Facts) -> None:
        """Fill in, in place, what a recipe's `model` leaves to the training data; what it states stays.

        The base fills in the preprocessor's mean and std.

        Args:
            model: registry dict of this algorithm.
            facts: of the training data.

        Raises:
            InputError: model and data do not fit each other.
        """
        preprocessor = model.get('data_preprocessor')
        if isinstance(preprocessor, dict):
            preprocessor.setdefault('mean', facts.mean)
            preprocessor.setdefault('std', facts.std)

    @classmethod
    def check_facts(cls, model: Mapping[str, Any], facts: Facts) -> None:
        """Hold a complete `model` against the facts of any of the recipe's data sets; the base accepts all.

        Raises:
            InputError: the model has no place for what the data hold; the line names the key of `model`.
        """

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a preprocessed training batch, scalars by name.

        Those with 'loss' in their name are summed and trained on; the others are diagnostics, which are recorded.
        """
        raise NotImplementedError

    def predict(self, batch: Batch) -> dict[str, Any]:
        """The answers for a preprocessed batch, with its `labels` and `ids`, which metrics read."""
        raise NotImplementedError

    def networks(self) -> dict[str, Network]:
        """The classifiers of the algorithm by name; '' is the one that a run is judged by. None by default."""
        return {}

    def network(self, purpose: str) -> Network:
        """The classifier that a run is judged by.

        Args:
            purpose: what it is asked for, for the error line.

        Raises:
            InputError: the algorithm trains no classifier.
        """
        if (found := self.networks().get('')) is None:
            raise InputError(f'{purpose} needs a classifier, and {type(self).__name__} trains none')
        return found

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if some steps give some trainable parameters no gradient, which DDP has to know."""
        return False

    def start(self) -> None:
        """Take copies of the network. Called once, before the first step, when all weights are loaded."""

    def before_step(self, step: int, steps: int) -> None:
        """Set what changes over training. Called before iteration `step` of `steps`."""

    def after_step(self) -> None:
        """Move momentum encoders. Called after every step of the optimiser."""

    def init_weights(self) -> None:
        """Nothing: every part is initialised, or loads its weights, where it is built.

        mmengine calls this after construction; its default would initialise pretrained parts again.
        """

    def forward(
        self, inputs: Any = None, labels: Any = None, ids: Any = None, mode: str = 'tensor', **others: Any
    ) -> Any:
        """Run on a preprocessed batch, whose entries are the arguments.

        Args:
            inputs: (N, 3, H, W) normalised images, or what else a batch of this algorithm has under that name.
            labels, ids: (N,) int64, where the batch has them.
            mode: 'tensor' for the (N, C) logits of the classifier that a run is judged by; 'loss' for the losses;
                'predict' for a list of one dict of answers.

        Raises:
            InputError: another mode, or 'tensor' of an algorithm that trains no classifier.
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
    """The algorithm of a runner's model, which DDP may wrap.

    Raises:
        InputError: the model is none.
    """
    inner: Any = model.module if is_model_wrapper(model) else model
    if not isinstance(inner, Algorithm):
        raise InputError(
            f'{type(inner).__name__} is no model that can be trained; give it to a MixClassifier as its backbone, '
            'or derive it from openmix.algorithm.Algorithm'
        )
    return inner


def logits_of(networks: Mapping[str, Network], x: Tensor) -> dict[str, Tensor]:
    """(N, C) logits of every network, by name; heads that share a backbone share its forward pass.

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
