"""Backbones from timm, by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import nn

from openmix.errors import InputError
from openmix.models.backbones.local_weights import load_state, load_weights, on_meta, only_weights
from openmix.models.backbones.packaged_weights import packaged, read_packaged
from openmix.registry import MODELS
from openmix.small import SIDE, small

# The arguments by which the networks of a file of timm become narrow; their blocks, the sites, stay.
_NARROW: dict[str, dict[str, Any]] = {
    'timm.models.convnext': {'dims': (24, 48, 96, 192)},
    'timm.models.deit': {'embed_dim': 48, 'num_heads': 6},
    'timm.models.resnet': {'channels': (32, 64, 128, 256)},
    'timm.models.swin_transformer': {'embed_dim': 24, 'num_heads': (3, 6, 12, 24)},
    'timm.models.vision_transformer': {'embed_dim': 48, 'num_heads': 6},
}


def _small(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a smoke run: initial weights, narrow layers, and a small `img_size` if it is fixed."""
    known = timm.get_pretrained_cfg(given['name'], allow_unregistered=True)
    size = {'img_size': min(given.get('img_size', SIDE), SIDE)} if known and known.fixed_input_size else {}
    file = timm.model_entrypoint(given['name']).__module__ if timm.is_model(given['name']) else ''
    return {'pretrained': False, 'checkpoint': None, 'weights': None, **size, **_NARROW.get(file, {})}


@MODELS.register_module(name='TimmBackbone')
@small(_small)
def timm_backbone(
    name: str,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    weights: str | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a timm model without its classifier; the sites are timm's module names.

    (N, 3, H, W) float -> (N, num_features), the input of timm's classifier: where the model has
    pre-logits layers, `num_features` is set to their output width.

    Args:
        name: a name from `timm.list_models()`, with or without a pretrained tag ('resnet18.a1_in1k').
        pretrained: download timm's weights.
        checkpoint: load weights from a local file instead, see `load_weights`.
        weights: take those of an installed package instead, by its name in `PACKAGED`.
        kwargs: options of `timm.create_model`, such as `drop_path_rate`.

    On the meta device no weights are read.

    Raises:
        InputError: unknown name, tag, package or option; several of `pretrained`, `checkpoint` and `weights`; a failed
            download; a package that is not installed; or a file that does not fit.
    """
    if 'checkpoint_path' in kwargs:
        raise InputError(f"TimmBackbone '{name}': wrong option: 'checkpoint_path'; give checkpoint='FILE'")
    where = f"TimmBackbone '{name}'"
    given = [bool(pretrained), checkpoint is not None, weights is not None]
    if sum(given) > 1:
        both = [key for key, is_given in zip(('pretrained', 'checkpoint', 'weights'), given) if is_given]
        raise InputError(f'{where}: give {" or ".join(both)}, not both')
    _check_name(name)
    if weights is not None:
        packaged(where, weights, name.split('.')[0])
    pretrained = pretrained and not on_meta()
    try:
        with only_weights():
            model = timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)
    except TypeError as error:
        raise InputError(f"TimmBackbone '{name}': wrong option: {_line(error)}") from error
    except Exception as error:  # the download clients that timm may use have no common base class of errors
        if not pretrained:
            raise
        raise InputError(
            f"TimmBackbone '{name}': the pretrained weights could not be fetched ({_line(error)}); "
            "save them to a file elsewhere and give checkpoint='FILE' instead of pretrained"
        ) from error
    model.num_features = getattr(model, 'head_hidden_size', model.num_features)
    classifier = getattr(model, 'default_cfg', {}).get('classifier') or ()
    heads = (classifier,) if isinstance(classifier, str) else classifier
    if checkpoint is not None:
        load_weights(model, checkpoint, heads)
    if weights is not None and not on_meta():
        load_state(model, *read_packaged(where, weights), heads)
    return model


def _check_name(name: str) -> None:
    """Raise an `InputError` unless timm knows the architecture and the tag; 'hf-hub:...' names are not checked."""
    if ':' in name:
        return
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f'did you mean {" or ".join(close)}? ' if close else ''
        raise InputError(f"TimmBackbone: timm has no model '{name}'; {hint}timm.list_models() lists all")
    try:
        timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:
        arch = name.split('.')[0]
        raise InputError(
            f"TimmBackbone: timm has no weights '{name}'; valid: "
            f'{", ".join(timm.list_models(f"{arch}.*", pretrained=True)) or arch}'
        ) from error


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
