"""Backbones of timm by name, and the reading of a local file of weights."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from openmix.errors import InputError
from openmix.registry import MODELS


@MODELS.register_module(name='TimmBackbone')
def timm_backbone(
    name: str, pretrained: bool = False, checkpoint: str | Path | None = None, **kwargs: Any
) -> nn.Module:
    """A timm model without its classifier, as timm built it; the sites are timm's module names.

    (N, 3, H, W) float -> (N, num_features), what timm's classifier would read: `num_features` is
    set to the width behind the pre-logits layers where the model has any.

    Args:
        name: of `timm.list_models()`, with or without a pretrained tag ('resnet18.a1_in1k').
        pretrained: download timm's weights.
        checkpoint: a local file of weights instead, see `load_weights`.
        kwargs: of `timm.create_model`, as `drop_path_rate`.

    On the meta device no weights are read.

    Raises:
        InputError: unknown name, tag or option, both sources of weights, a failed download, or a
            file that does not fit.
    """
    if pretrained and checkpoint is not None:
        raise InputError(f"TimmBackbone '{name}': give pretrained or checkpoint, not both")
    _check_name(name)
    pretrained = pretrained and not on_meta()
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)
    except TypeError as error:
        raise InputError(f"TimmBackbone '{name}': wrong option: {_line(error)}") from error
    except Exception as error:  # the download clients that timm picks from share no class of errors
        if not pretrained:
            raise
        raise InputError(
            f"TimmBackbone '{name}': the pretrained weights could not be fetched ({_line(error)}); "
            "save them to a file elsewhere and give checkpoint='FILE' instead of pretrained"
        ) from error
    model.num_features = getattr(model, 'head_hidden_size', model.num_features)
    if checkpoint is not None:
        classifier = getattr(model, 'default_cfg', {}).get('classifier') or ()
        load_weights(model, checkpoint, (classifier,) if isinstance(classifier, str) else classifier)
    return model


def on_meta() -> bool:
    """Whether modules are being built without storage, so that weights would have nowhere to go."""
    return torch.get_default_device().type == 'meta'


def load_weights(model: nn.Module, path: str | Path, classifier: Sequence[str] = ()) -> None:
    """Fill `model` from a local file; nothing in the file is executed.

    The file is a .safetensors file or one of `torch.save`: a state dict, or a checkpoint that holds
    one as 'state_dict' or 'model' (averaged weights first, as timm reads it). If it is a whole
    classifier's, with keys under 'backbone.', those are taken. On the meta device nothing is read.

    Args:
        model: what to fill.
        path: the file.
        classifier: module names whose keys the file may have on top of the model's.

    Raises:
        InputError: no such file, not a file of weights, or keys or shapes that differ otherwise.
    """
    if on_meta():
        return
    if not Path(path).is_file():
        raise InputError(f"no file of weights '{path}'; check the path")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except (RuntimeError, EOFError, AttributeError, pickle.UnpicklingError, SafetensorError) as error:
        raise InputError(f"'{path}' is not a file of plain tensors; save a state_dict() there") from error
    inner = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    state = inner or state
    own = model.state_dict()
    # The step counter of batch norm is younger than many published weights and unused here.
    lacking = [key for key in own if key not in state and not key.endswith('num_batches_tracked')]
    heads = tuple(f'{part}.' for part in classifier)
    foreign = [key for key in state if key not in own and not key.startswith(heads)]
    reshaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    wrong = [('lacks', lacking), ('has unknown', foreign), ('has other shapes of', reshaped)]
    told = [f'{what} {_few(keys)}' for what, keys in wrong if keys]
    if told:
        raise InputError(f"weights '{path}' do not fit {type(model).__name__}: the file {', '.join(told)}")
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _check_name(name: str) -> None:
    """Raise InputError unless timm knows the architecture and the tag; 'hf-hub:...' is left to timm."""
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


def _few(keys: Sequence[str]) -> str:
    return ', '.join(keys[:3]) + (f' and {len(keys) - 3} more' if len(keys) > 3 else '')


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
