"""Backbones from torchvision, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from openmix.errors import InputError, nearest
from openmix.models.backbones.local_weights import load_weights, on_meta
from openmix.registry import MODELS
from openmix.small import small

# Auxiliary classifiers of Inception networks: with them a model returns a tuple in training mode.
_SIDE_HEADS = {'googlenet': ('aux1', 'aux2'), 'inception_v3': ('AuxLogits',)}
# The networks whose inner layers a smoke run makes narrow; their blocks, the sites and the features' width stay.
_NARROW: dict[str, dict[str, Any]] = {
    **{name: {'width_per_group': 4} for name in ('resnet50', 'resnet101', 'resnet152')},
    # torchvision refuses another width under these names, and builds the same blocks under those of the ResNets.
    'resnext50_32x4d': {'name': 'resnet50', 'groups': 32, 'width_per_group': 1},
    'resnext101_32x8d': {'name': 'resnet101', 'groups': 32, 'width_per_group': 1},
    'resnext101_64x4d': {'name': 'resnet101', 'groups': 64, 'width_per_group': 1},
    'wide_resnet50_2': {'name': 'resnet50', 'width_per_group': 4},
    'wide_resnet101_2': {'name': 'resnet101', 'width_per_group': 4},
}


def _small(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a smoke run: initial weights, and narrow layers where torchvision allows it."""
    return {'weights': None, 'checkpoint': None, **_NARROW.get(given['name'], {})}


@MODELS.register_module(name='TorchvisionBackbone')
@small(_small)
def torchvision_backbone(
    name: str, weights: str | None = None, checkpoint: str | Path | None = None, **kwargs: Any
) -> nn.Module:
    """Build a torchvision classifier whose last layer is replaced by the identity.

    (N, 3, H, W) float -> (N, num_features), the input of the last layer. The sites are
    torchvision's module names.

    Args:
        name: the name of a classification model of torchvision.
        weights: download these weights, by torchvision's name ('IMAGENET1K_V1', 'DEFAULT').
        checkpoint: load weights from a local file instead, see `load_weights`.
        kwargs: options of the model's builder in torchvision.

    On the meta device no weights are read.

    Raises:
        InputError: unknown name, weights or option; both `weights` and `checkpoint`; a failed download; or
            a file that does not fit.
    """
    valid = list_models(module=torchvision.models)
    if name not in valid:
        raise InputError(f"TorchvisionBackbone: torchvision has no classifier '{name}'; {nearest(name, valid)}")
    if weights is not None and checkpoint is not None:
        raise InputError(f"TorchvisionBackbone '{name}': give weights or checkpoint, not both")
    published = None if weights is None else _published(name, weights)
    if on_meta():
        published = None
    kwargs = without_side_heads(name, trained=published is not None or checkpoint is not None) | kwargs
    try:
        model = get_model(name, weights=published, **kwargs)
    except (TypeError, ValueError) as error:
        raise InputError(f"TorchvisionBackbone '{name}': wrong option: {error}") from error
    except (OSError, RuntimeError) as error:
        if published is None:
            raise
        raise InputError(
            f"TorchvisionBackbone '{name}': weights '{weights}' could not be fetched ({error}); download "
            f"{published.url} elsewhere and give checkpoint='FILE' instead of weights"
        ) from error
    path, width = _last_layer(model)
    model.set_submodule(path, nn.Identity())
    model.num_features = width
    if checkpoint is not None:
        load_weights(model, checkpoint, (path, *_SIDE_HEADS.get(name, ())))
    return model


def without_side_heads(name: str, trained: bool) -> dict[str, Any]:
    """Return the options that build a model without auxiliary classifiers; empty for models that have none.

    Args:
        name: the name of the model.
        trained: weights are loaded afterwards, so random initialisation is skipped.
    """
    return {'aux_logits': False, 'init_weights': not trained} if name in _SIDE_HEADS else {}


def _published(name: str, weights: str) -> Any:
    """Look up `weights` in the model's enum of weights.

    Raises:
        InputError: there are no such weights.
    """
    known = get_model_weights(name).__members__
    if weights not in known:
        raise InputError(f"TorchvisionBackbone '{name}': no weights '{weights}'; {nearest(weights, known)}")
    return known[weights]


def _last_layer(model: nn.Module) -> tuple[str, int]:
    """Find the name and input width of the layer that computes the logits.

    Earlier layers of the model's classifier (flattening, a norm, hidden layers) stay part of the backbone.
    """
    root = next(part for part in ('fc', 'classifier', 'heads', 'head') if hasattr(model, part))
    layers = [
        (f'{root}.{path}'.rstrip('.'), layer)
        for path, layer in model.get_submodule(root).named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    path, layer = layers[-1]
    return path, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
