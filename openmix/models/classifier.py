"""`MixClassifier`: where policy, backbone, head and loss meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, Probe
from openmix.models.grad_checkpointing import checkpoint_blocks
from openmix.models.heads.linear_head import LinearHead
from openmix.models.preprocessor import ImagePreprocessor
from openmix.models.sites import Sites
from openmix.registry import MIXUPS, MODELS, ModelConfig, PolicyConfig, find


@runtime_checkable
class Backbone(Protocol):
    """A module (N, 3, H, W) -> (N, D) that says D."""

    num_features: int


def width_of(backbone: Any) -> int:
    """D of the (N, D) features that a backbone puts out.

    Raises:
        InputError: it is no module, or does not say D.
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


@MODELS.register_module()
class MixClassifier(BaseModel):
    """A classifier trained on mixed batches.

    Args:
        backbone: registry dict of a module (N, 3, H, W) -> (N, D) with an attribute `num_features`.
        head: registry dict of a head; `in_features` defaults to the backbone's.
        policy: registry dict of a mixing policy; `NoMix` is vanilla training.
        data_preprocessor: registry dict of the preprocessor; with its `channels_last` the weights take that
            memory format too.
        grad_checkpointing: names of the backbone's modules that keep their input alone and run again in the
            backward pass; True for all its repeated blocks, see `checkpoint_blocks`.

    Raises:
        InputError: an unknown backbone, head, policy, site or block.
    """

    def __init__(
        self,
        backbone: ModelConfig,
        head: ModelConfig,
        policy: PolicyConfig,
        data_preprocessor: ModelConfig | None = None,
        grad_checkpointing: bool | Sequence[str] = False,
    ) -> None:
        for part, registry in ((backbone, MODELS), (head, MODELS), (policy, MIXUPS)):
            find(registry, part.get('type'))
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build({'in_features': width_of(self.backbone), **head})
        policy_module = MIXUPS.build(policy)
        if not isinstance(policy_module, MixPolicy):
            raise InputError(f'MixClassifier: {type(policy_module).__name__} is no policy; derive it from MixPolicy')
        sites = policy_module.all_sites()
        # Before policies copy the backbone: their copies save memory too.
        if grad_checkpointing:
            checkpoint_blocks(self.backbone, grad_checkpointing, sites)
        policy_module.attach(self)
        self.policy = policy_module
        self.sites = Sites(self.backbone, sites)
        if isinstance(self.data_preprocessor, ImagePreprocessor):
            if isinstance(self.head, LinearHead):
                self.data_preprocessor.num_classes = self.head.num_classes
            if self.data_preprocessor.channels_last:
                self.to(memory_format=torch.channels_last)

    def init_weights(self) -> None:
        """Nothing: every part is initialised, or loads its weights, where it is built.

        mmengine calls this after construction; its default would re-initialise pretrained parts.
        """

    def forward(
        self, inputs: Tensor, labels: Tensor | None = None, ids: Tensor | None = None, mode: str = 'tensor'
    ) -> Any:
        """Run on a preprocessed batch.

        Args:
            inputs: (N, 3, H, W) normalised images.
            labels: (N,) int64.
            ids: (N,) int64, the place of each sample in its data set.
            mode: 'tensor' for (N, C) logits, 'loss' for a dict of scalar losses, 'predict' for a
                list with one dict of logits, labels, ids and, of a learned policy, the logits of
                its other networks by name, which metrics read.
        """
        if mode == 'tensor':
            return self.policy.logits(self, inputs)
        if mode == 'loss' and labels is not None:
            return self.loss(inputs, labels)
        if mode == 'predict':
            logits, others = self.policy.logits(self, inputs), self.policy.other_logits(self, inputs)
            return [dict(logits=logits, others=others, labels=labels, ids=ids)]
        raise InputError(f"MixClassifier: mode must be 'tensor', 'predict' or, with labels, 'loss'; got {mode!r}")

    def loss(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Losses of one training batch: the classifier's, and those of a learned policy.

        Args:
            x: (N, 3, H, W) normalised images.
            y: (N,) int64 labels.
        """
        probe = self.probe(x, y)
        logits, mix, policy = self.mixed(probe)
        return {'loss': self.head.loss(logits, y, mix), **policy.own_losses(probe)}

    def mixed(self, probe: Probe) -> tuple[Tensor, Mix, MixPolicy]:
        """Mix a batch where the policy wants it and classify it.

        Returns:
            (N, C) logits, how the batch was mixed, and the policy that did it: of several, the one drawn.
        """
        policy, site = self.policy.pick()
        mixes: list[Mix] = []

        def mix_here(z: Tensor) -> Tensor:
            z, mix = policy(z, probe)
            mixes.append(mix)
            return z

        if site == '':
            features = self.backbone(mix_here(probe.x))
        else:
            with self.sites.armed(site, mix_here):
                features = self.backbone(probe.x)
        (mix,) = mixes
        return self.head(features), mix, policy

    def probe(self, x: Tensor, y: Tensor | None) -> Probe:
        """The `Probe` of a batch (N, 3, H, W) and its labels, with this model and its normalisation."""
        mean, std = getattr(self.data_preprocessor, 'mean', None), getattr(self.data_preprocessor, 'std', None)
        return Probe(x, y, mean=mean, std=std, model=self)
