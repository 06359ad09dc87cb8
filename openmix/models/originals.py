"""Convert a trained backbone and head back to a classifier of timm or torchvision, with that library's key names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.models.backbones.timm_backbone import timm_backbone
from openmix.models.backbones.torchvision_backbone import torchvision_backbone, without_side_heads
from openmix.models.heads.linear_head import LinearHead
from openmix.registry import MODELS, find

_BUILDERS = {'timm': timm_backbone, 'torchvision': torchvision_backbone}
# The accepted difference, as a fraction of the largest logit.
_ROUNDING = 1e-4
# Options that say where a backbone's initial weights come from; they are not part of its architecture.
WEIGHTS_FROM = ('pretrained', 'checkpoint', 'weights')


@dataclass(frozen=True)
class Original:
    """Describe a classifier of another library.

    Attributes:
        library: 'timm' or 'torchvision'.
        name: name of the model in that library.
        options: keyword arguments of its builder.
        num_classes: C.
    """

    library: str
    name: str
    options: dict[str, Any]
    num_classes: int

    @classmethod
    def of(cls, library: str, backbone: Mapping[str, Any], num_classes: int) -> Original:
        """Make the description from the backbone's part of a recipe.

        Raises:
            InputError: the backbone is not from that library.
        """
        if find(MODELS, backbone['type']) is not _BUILDERS[library]:
            of = [other for other, builder in _BUILDERS.items() if find(MODELS, backbone['type']) is builder]
            raise InputError(
                f"model.backbone: {backbone['type']} is no model of {library}, which has none with its weights' names; "
                f'publish it with --format {" or ".join([*of, "safetensors", "openmix"])}'
            )
        options = {key: value for key, value in backbone.items() if key not in ('type', 'name', *WEIGHTS_FROM)}
        if library == 'torchvision':
            options = without_side_heads(backbone['name'], trained=False) | options
        return cls(library, backbone['name'], options, num_classes)

    def build(self) -> nn.Module:
        """Build the classifier with the library's random initial weights."""
        if self.library == 'timm':
            return timm.create_model(self.name, num_classes=self.num_classes, **self.options)
        return torchvision.models.get_model(self.name, num_classes=self.num_classes, **self.options)

    def weights(self, backbone: nn.Module, head: nn.Module) -> dict[str, Tensor]:
        """Make a state dict for `build()` from the backbone's weights and, as last layer, the head's.

        Raises:
            InputError: the classifier is not the backbone plus one last layer, or the head does not fit that layer.
        """
        own, found = self.build().state_dict(), dict(backbone.state_dict())
        lacking, foreign = [key for key in own if key not in found], [key for key in found if key not in own]
        layer = lacking[0].rpartition('.')[0] if lacking else ''
        if foreign or sorted(lacking) != [f'{layer}.bias', f'{layer}.weight']:
            few = ', '.join((foreign or lacking)[:3]) or 'no layer is left for the head'
            raise InputError(
                f"model.backbone: {self.library}'s {self.name} is not this backbone and one last layer ({few}); "
                'publish it with --format safetensors or openmix'
            )
        # A subclass with its own forward may compute more than one layer.
        if not isinstance(head, LinearHead) or type(head).forward is not LinearHead.forward:
            raise InputError(
                f"model.head: {type(head).__name__} is more than the last layer of {self.library}'s models"
            )
        for key, value in head.fc.state_dict().items():
            wanted = own[f'{layer}.{key}']
            if value.numel() != wanted.numel():
                raise InputError(
                    f"model.head: {key} of {tuple(value.shape)} does not fit {self.library}'s {tuple(wanted.shape)}"
                )
            # In some classifiers the last layer is a 1x1 convolution.
            found[f'{layer}.{key}'] = value.reshape(wanted.shape)
        return {key: found[key] for key in own}

    @staticmethod
    def renamed(weights: Mapping[str, Tensor], backbone: nn.Module, head: nn.Module) -> dict[str, Tensor]:
        """Return the weights of the library's classifier by the names of a network: `backbone.` and `head.fc.`.

        The inverse of `weights`; what is of neither keeps its name, which the network does not have.
        """
        own = backbone.state_dict()
        last = {f'fc.{key.rpartition(".")[2]}': key for key in weights if key not in own}
        found = {f'backbone.{key}': value for key, value in weights.items() if key in own}
        for name, value in head.state_dict().items():
            if name in last and weights[last[name]].numel() == value.numel():
                found[f'head.{name}'] = weights[last.pop(name)].reshape(value.shape)
        return found | {key: weights[key] for key in last.values()}

    def check(self, weights: Mapping[str, Tensor], network: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> None:
        """Load the weights strictly into a new classifier, and compare its logits with those of the run's network.

        Args:
            weights: state dict with the library's key names.
            network: (N, 3, H, W) normalised images -> (N, C) logits.
            shape: (H, W) of the random images for the comparison.

        Raises:
            InputError: the logits differ by more than rounding.
        """
        theirs = self.build().eval()
        theirs.load_state_dict(weights)
        x = torch.randn(3, 3, *shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted, found = network(x), theirs(x)
        difference, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
        # `not <=` instead of `>`, so that nan counts as a difference.
        if not difference <= _ROUNDING * max(1.0, largest):
            raise InputError(
                f"nothing is written: the logits of {self.library}'s {self.name} differ from the run's by "
                f'{difference:.2g}, of {largest:.2g}'
            )
