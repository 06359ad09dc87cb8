"""`MixClassifier`: train a backbone and a head on batches that a policy mixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from openmix.algorithm import Algorithm, HasClasses, Network, logits_of
from openmix.batch import Batch
from openmix.errors import InputError, check_choice, check_number
from openmix.facts import Facts
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.models.backbones.packaged_weights import as_trained
from openmix.models.every_class import CountedImages, refuse_absent
from openmix.models.grad_checkpointing import checkpoint_blocks
from openmix.models.mixing import Mixed, mixed_features
from openmix.models.preprocessor import ImagePreprocessor
from openmix.models.sites import Sites
from openmix.ops.crops import CENTRE, ten_crops
from openmix.registry import MIXUPS, MODELS, HeadConfig, ModelConfig, PolicyConfig, PreprocessorConfig, find


@runtime_checkable
class Backbone(Protocol):
    """A module (N, 3, H, W) -> (N, D) with the attribute `num_features` = D."""

    num_features: int


def width_of(backbone: Any) -> int:
    """Return D of the (N, D) features that a backbone computes.

    Raises:
        InputError: it is not a module, or has no attribute `num_features`.
    """
    name = type(backbone).__name__
    if not isinstance(backbone, nn.Module):
        raise InputError(f'the backbone must be a torch.nn.Module, got a {name}')
    if not isinstance(backbone, Backbone):
        raise InputError(
            f'{name} has no num_features; set self.num_features = D in its __init__, the width of the (N, D) '
            'features that its forward returns'
        )
    check_number(f'{name}: num_features', backbone.num_features, 1)
    return backbone.num_features


class Classifier(Algorithm):
    """A backbone and a head that are trained on labels, the base of algorithms that may mix.

    A derived class builds what it adds, and calls `finish` at the end of its constructor.

    Args:
        backbone: registry dict of a module (N, 3, H, W) -> (N, D) with an attribute `num_features`.
        head: registry dict of a head; `in_features` defaults to the backbone's `num_features`.
        data_preprocessor: registry dict of the preprocessor; its `channels_last` sets the memory format of the
            weights too.
        ten_crop: side or (H, W) of ten crops of every image that is evaluated, which must be larger; their logits are
            summed, see `ten_crops`. None: images are evaluated whole.

    Raises:
        InputError: an unknown backbone or head, or a crop without pixels.
    """

    answers = frozenset({'logits'})

    def __init__(
        self,
        backbone: ModelConfig,
        head: HeadConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        ten_crop: int | tuple[int, int] | None = None,
    ) -> None:
        for part in (backbone, head):
            find(MODELS, part.get('type'))
        super().__init__(data_preprocessor=data_preprocessor)
        self.ten_crop = None if ten_crop is None else crop_size(ten_crop)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build({'in_features': width_of(self.backbone), **head})

    def finish(self, *policies: MixPolicy, grad_checkpointing: bool | Sequence[str] = False) -> None:
        """Prepare the whole model for training, once all its parts are built.

        Args:
            policies: the policies that mix batches of this network, parts of the model; none: nothing is mixed.
            grad_checkpointing: see `checkpoint_blocks`; False: none.

        Raises:
            InputError: an unknown site or block.
        """
        sites = {site for policy in policies for site in policy.all_sites()}
        # Before a policy copies the backbone, so that its copy saves memory too.
        if grad_checkpointing:
            checkpoint_blocks(self.backbone, grad_checkpointing, sites)
        for policy in policies:
            policy.attach(self.online())
        watched = {site for policy in policies for site in policy.attention_sites()}
        kept = {site for policy in policies for site in policy.output_sites()}
        self.sites = Sites(self.backbone, sites, watched, kept)
        if isinstance(self.data_preprocessor, ImagePreprocessor):
            if isinstance(self.head, HasClasses):
                self.data_preprocessor.num_classes = self.head.num_classes
            if self.data_preprocessor.channels_last:
                self.to(memory_format=torch.channels_last)

    @classmethod
    def complete(cls, model: dict[str, Any], facts: Facts) -> None:
        super().complete(model, as_trained(model, facts))
        if isinstance(model.get('head'), dict):
            cls.size_head(model['head'], facts)

    @classmethod
    def size_head(cls, head: dict[str, Any], facts: Facts) -> None:
        """Set the number of outputs in the registry dict of a head, in place, unless it is given."""
        if 'num_classes' not in head:
            head['num_classes'] = facts.num_classes

    @classmethod
    def check_facts(cls, model: Mapping[str, Any], facts: Facts) -> None:
        """Check that the data are of classes, and that the head has at least as many as they.

        Raises:
            InputError: they are not, or it has fewer.
        """
        if facts.targets:
            raise InputError(f'model: {cls.__name__} learns classes, and the data of {facts.name} have numbers')
        given = (model.get('head') or {}).get('num_classes')
        if isinstance(given, int) and given < len(facts.classes):
            raise InputError(
                f'model: head.num_classes is {given}, but the data of {facts.name} have {len(facts.classes)} classes; '
                'leave it out and the data set it'
            )

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the logits (N, C) of a clean batch, and in `others` those of the other networks.

        With `ten_crop` they are sums over ten crops, and those of the centre crop alone are among the others.
        """
        x = batch['inputs']
        others = logits_of(self.networks(), x) if self.ten_crop is None else self.logits_of_crops(x, self.ten_crop)
        return dict(logits=others.pop(''), others=others, labels=batch.get('labels'), ids=batch.get('ids'))

    def logits_of_crops(self, x: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Sum the logits (N, C) of every network over ten crops of (N, 3, H, W); 'one_crop' is the centre crop's."""
        sums: dict[str, Tensor] = {}
        for place, crop in enumerate(ten_crops(x, size)):
            found = {name: logits.float() for name, logits in logits_of(self.networks(), crop).items()}
            sums = {name: sums[name] + logits for name, logits in found.items()} if place else found
            if place == CENTRE:
                one_crop = found['']
        return sums | {'one_crop': one_crop}

    def networks(self) -> dict[str, Network]:
        return {'': self.online()}

    def online(self) -> Network:
        """Return the network that is trained."""
        return Network(self.backbone, self.head)

    def context(self, x: Tensor, y: Tensor | None) -> MixContext:
        """Make the `MixContext` of a batch (N, 3, H, W) and its labels, with this network and its normalisation."""
        given = self.data_preprocessor
        mean, std = (given.mean, given.std) if isinstance(given, ImagePreprocessor) else (None, None)
        return MixContext(x, y, mean=mean, std=std, network=self.online())


def crop_size(given: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of a crop given as a side or as both.

    Raises:
        InputError: it is neither, or has no pixels.
    """
    sides = (given, given) if isinstance(given, int) else tuple(given)
    for side in sides:
        check_number('ten_crop', side, 1, 2**14)
    if len(sides) != 2:
        raise InputError(f'ten_crop must be a side or (height, width), got {len(sides)} numbers')
    return sides[0], sides[1]


def build_policy(owner: str, policy: PolicyConfig) -> MixPolicy:
    """Build a policy from its registry dict.

    Raises:
        InputError: it is unknown, or no policy; the line names the `owner`.
    """
    built = MIXUPS.build(policy)
    if not isinstance(built, MixPolicy):
        raise InputError(f'{owner}: {type(built).__name__} is no policy; derive it from MixPolicy')
    return built


@MODELS.register_module()
class MixClassifier(Classifier):
    """A classifier trained on mixed batches.

    Args:
        backbone, head, data_preprocessor: see `Classifier`.
        policy: registry dict of a mixing policy; `NoMix` is vanilla training.
        grad_checkpointing: names of modules of the backbone to recompute in the backward pass; True: all its
            repeated blocks, see `checkpoint_blocks`.
        ten_crop: see `Classifier`.
        absent: a class of which a list of the training images has none is refused ('refused'), or never learned
            ('kept').

    Raises:
        InputError: an unknown backbone, head, policy, site, block or option.
    """

    def __init__(
        self,
        backbone: ModelConfig,
        head: HeadConfig,
        policy: PolicyConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        grad_checkpointing: bool | Sequence[str] = False,
        ten_crop: int | tuple[int, int] | None = None,
        absent: str = 'refused',
    ) -> None:
        find(MIXUPS, policy.get('type'))
        check_choice(f'{type(self).__name__}: absent', absent, ('refused', 'kept'))
        super().__init__(backbone, head, data_preprocessor, ten_crop)
        self.policy, self.absent = build_policy(type(self).__name__, policy), absent
        self.finish(self.policy, grad_checkpointing=grad_checkpointing)

    def check_data(self, dataset: Any) -> None:
        """Check that a list of the training images has some of every class, unless `absent` is 'kept'.

        Raises:
            InputError: it has none of a class.
        """
        if self.absent == 'refused' and isinstance(dataset, CountedImages) and dataset.listed:
            refuse_absent(type(self).__name__, dataset.known.classes, dataset.images_a_class())

    def read_data(self, dataset: Any) -> None:
        """Tell the policy the images of every class, where the data set counts them."""
        if isinstance(dataset, CountedImages):
            self.policy.read_counts(dataset.images_a_class().cpu())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of a training batch: the classifier's and those of a learned policy.

        Args:
            batch: `inputs` (N, 3, H, W) normalised images, `labels` (N,) int64.

        Raises:
            InputError: the batch has no labels.
        """
        return self.losses_of(self.labelled(batch))

    def labelled(self, batch: Batch) -> MixContext:
        """Make the `MixContext` of a training batch.

        Raises:
            InputError: the batch has no labels.
        """
        if batch.get('labels') is None:
            raise InputError(f'{type(self).__name__} learns from labels, and the batch has none')
        return self.context(batch['inputs'], batch['labels'])

    def losses_of(self, context: MixContext) -> dict[str, Tensor]:
        """Compute the losses of the images of a context: the classifier's and those of a learned policy."""
        assert context.y is not None
        y, mixed = context.y, self.mixed(context)
        policy = mixed.policy
        losses = {'loss': self.head.loss(self.head(mixed.features), y, mixed.mix), **policy.own_losses(context)}
        losses |= policy.mixed_losses(mixed.mix, context, mixed.seen)
        losses |= self.further_losses(mixed, y)
        if policy.clean_weight:
            losses['clean_loss'] = policy.clean_weight * self.clean_loss(context, policy)
        return losses

    def further_losses(self, mixed: Mixed, y: Tensor) -> dict[str, Tensor]:
        """Compute losses of the mixed batch beside the head's, by name; there are none unless a method derives them.

        Args:
            mixed: the features (N, D) of the mixed batch, and how it was mixed.
            y: (M,) int64 labels of the clean batch.
        """
        return {}

    def mixed(self, context: MixContext, pairs: Tensor | None = None) -> Mixed:
        """Mix the context's batch with the policy and run the backbone on it; see `mixed_features`."""
        return mixed_features(self.backbone, self.sites, self.policy, context, pairs)

    def clean_loss(self, context: MixContext, policy: MixPolicy) -> Tensor:
        """Compute the loss on the clean batch with the policy's `clean_head`, unless the policy has computed it."""
        if context.clean_loss is not None:
            return context.clean_loss
        head = policy.clean_head(self.head)
        unmixed = Mix.none(len(context.x), context.x.device)
        return self.head.loss(head(self.backbone(context.x)), context.y, unmixed)

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        return self.policy.ways()

    def networks(self) -> dict[str, Network]:
        return self.policy.networks(self.online())

    @property
    def leaves_parameters_unused(self) -> bool:
        return self.policy.leaves_parameters_unused

    def start(self) -> None:
        self.policy.start(self.online())

    def before_epoch(self, epoch: int) -> None:
        self.policy.before_epoch(epoch)

    def before_step(self, step: int, steps: int) -> None:
        self.policy.before_step(step, steps)

    def after_step(self) -> None:
        self.policy.after_step(self.online())
