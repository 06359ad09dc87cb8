"""The classifier that a backbone was taken from, as its own library builds it, and a trained head back in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.models.backbones import timm_backbone, torchvision_backbone
from openmix.models.backbones.torchvision_backbone import without_side_heads
from openmix.models.heads import LinearHead
from openmix.registry import MODELS, find

_BUILDERS = {'timm': timm_backbone, 'torchvision': torchvision_backbone}
# Of the largest logit.
_ROUNDING = 1e-4
# Where the weights of a backbone come from, which is not part of its architecture.
WEIGHTS_FROM = ('pretrained', 'checkpoint', 'weights')


@dataclass(frozen=True)
class Original:
    """A classifier of another library.

    Attributes:
        library: 'timm' or 'torchvision'.
        name: of the model there.
        options: keyword arguments of its builder.
        num_classes: C.
    """

    library: str
    name: str
    options: dict[str, Any]
    num_classes: int

    @classmethod
    def of(cls, library: str, backbone: Mapping[str, Any], num_classes: int) -> Original:
        """Read it from the backbone's part of a recipe.

        Raises:
            InputError: the backbone is not of that library.
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
        """A new one, with weights as the library draws them."""
        if self.library == 'timm':
            return timm.create_model(self.name, num_classes=self.num_classes, **self.options)
        return torchvision.models.get_model(self.name, num_classes=self.num_classes, **self.options)

    def weights(self, backbone: nn.Module, head: nn.Module) -> dict[str, Tensor]:
        """State dict for `build()`: the backbone's weights, and the head's as the last layer.

        Raises:
            InputError: the backbone lacks more than one layer, or the head is not of its shape.
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
        # A subclass may do more than the layer that it inherits.
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
            # Some have a 1x1 convolution there.
            found[f'{layer}.{key}'] = value.reshape(wanted.shape)
        return {key: found[key] for key in own}

    def check(self, weights: Mapping[str, Tensor], network: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> None:
        """Load weights into a new one, all of them and no others, and hold its logits against the run's.

        Args:
            weights: by the library's names.
            network: (N, 3, H, W) normalised images -> (N, C) logits.
            shape: (H, W) of the random images that both see.

        Raises:
            InputError: the logits differ by more than rounding.
        """
        theirs = self.build().eval()
        theirs.load_state_dict(weights)
        x = torch.randn(3, 3, *shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted, found = network(x), theirs(x)
        difference, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
        # Not the other way round: nan compares false.
        if not difference <= _ROUNDING * max(1.0, largest):
            raise InputError(
                f"nothing is written: the logits of {self.library}'s {self.name} differ from the run's by "
                f'{difference:.2g}, of {largest:.2g}'
            )
