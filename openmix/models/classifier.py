"""`MixClassifier`: where policy, backbone, head and loss meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, Probe
from openmix.models.grad_checkpointing import checkpoint_blocks
from openmix.models.sites import Sites
from openmix.registry import MIXUPS, MODELS, find


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
        backbone: dict,
        head: dict,
        policy: dict,
        data_preprocessor: dict | None = None,
        grad_checkpointing: bool | Sequence[str] = False,
    ) -> None:
        for part, registry in ((backbone, MODELS), (head, MODELS), (policy, MIXUPS)):
            find(registry, part.get('type'))
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build({'in_features': self.backbone.num_features, **head})
        policy_module = MIXUPS.build(policy)
        sites = policy_module.all_sites()
        # Before policies copy the backbone: their copies save memory too.
        if grad_checkpointing:
            checkpoint_blocks(self.backbone, grad_checkpointing, sites)
        policy_module.attach(self)
        self.policy = policy_module
        self.sites = Sites(self.backbone, sites)
        if getattr(self.data_preprocessor, 'channels_last', False):
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
        """What a policy may ask about this batch."""
        mean, std = getattr(self.data_preprocessor, 'mean', None), getattr(self.data_preprocessor, 'std', None)
        return Probe(x, y, mean=mean, std=std, model=self)
