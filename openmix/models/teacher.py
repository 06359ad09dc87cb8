"""`Teacher`: a trained, frozen classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import timm
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from openmix.errors import InputError, brief, nearest
from openmix.models.backbones.local_weights import load_state, load_weights, on_meta, only_weights
from openmix.models.backbones.packaged_weights import packaged, read_packaged
from openmix.models.classifier import width_of
from openmix.registry import MODELS, HeadConfig, ModelConfig, find


@MODELS.register_module()
class Teacher(nn.Module):
    """A frozen classifier in evaluation mode that maps (N, 3, H, W) normalised images to (N, C) logits.

    It is either a classifier trained with openmix, given by backbone, head and checkpoint, or a published
    one, given by name. On the meta device no weights are read.

    Args:
        backbone, head: registry dicts, as in the recipe that trained it.
        checkpoint: the file with the weights of backbone and head, such as a run's checkpoint; see `load_weights`.
        name: 'torchvision/NAME' or 'timm/NAME', instead of the other three.
        pretrained: download the library's weights; False: random weights, to try a recipe.
        weights: of torchvision, the name of the weights; of timm, the installed package in `PACKAGED` that holds them;
            None: the library's default.

    Attributes:
        num_classes: C.

    Raises:
        InputError: neither or both of the two ways are given, a name or file is wrong, a package is not installed, or a
            download failed.
    """

    small: ClassVar[dict[str, Any]] = {'pretrained': False}

    def __init__(
        self,
        backbone: ModelConfig | None = None,
        head: HeadConfig | None = None,
        checkpoint: str | Path | None = None,
        name: str | None = None,
        pretrained: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if name is not None and backbone is head is checkpoint is None:
            self.model, self.num_classes = published_classifier(name, pretrained, weights)
        elif name is None and weights is None and backbone is not None and head is not None and checkpoint is not None:
            self.model, self.num_classes = trained_classifier(backbone, head, checkpoint)
        else:
            raise InputError("Teacher: give backbone, head and checkpoint='FILE', or name='torchvision/NAME' alone")
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def trained_classifier(backbone: dict, head: dict, checkpoint: str | Path) -> tuple[nn.Module, int]:
    """Build a classifier from backbone and head with the weights in a file; return it and its number of classes."""
    for part in (backbone, head):
        find(MODELS, part.get('type'))
    features = MODELS.build(backbone)
    top = MODELS.build({'in_features': width_of(features), **head})
    load_weights(features, checkpoint)
    load_weights(top, checkpoint, part='head')
    return nn.Sequential(features, top), top.num_classes


def published_classifier(name: str, pretrained: bool = True, weights: str | None = None) -> tuple[nn.Module, int]:
    """Build a classifier of torchvision or timm; return it and its number of classes.

    Args:
        name: 'torchvision/NAME' or 'timm/NAME'.
        pretrained: download the library's weights.
        weights: of torchvision, their name; of timm, the package in `PACKAGED` that holds them; None: the default.

    Raises:
        InputError: the library, the model, or the package is unknown, it is not installed, or weights could not be
            downloaded.
    """
    built: Any
    library, _, model = name.partition('/') if isinstance(name, str) else ('', '', '')
    known = {'torchvision': lambda: list_models(module=torchvision.models), 'timm': timm.list_models}
    if library not in known or not model:
        raise InputError(f"Teacher: name must be 'torchvision/NAME' or 'timm/NAME', got {brief(name)}")
    valid = known[library]()
    if model.split('.')[0] not in valid:
        raise InputError(f"Teacher: {library} has no classifier '{model}'; {nearest(model, valid)}")
    fetched = pretrained and not on_meta()
    if library == 'timm' and weights is not None:
        packaged('Teacher', weights, model.split('.')[0])
        built = timm.create_model(model)
        if fetched:
            load_state(built, *read_packaged('Teacher', weights))
        return built, built.num_classes
    try:
        if library == 'timm':
            with only_weights():
                built = timm.create_model(model, pretrained=fetched)
            return built, built.num_classes
        published = get_model_weights(model)[weights or 'DEFAULT']
        return get_model(model, weights=published if fetched else None), len(published.meta['categories'])
    except Exception as error:  # the download clients have no common base class of errors
        raise InputError(
            f"Teacher: '{name}' could not be had ({brief(str(error))}); train one here and give backbone, head "
            "and checkpoint='FILE'"
        ) from error
