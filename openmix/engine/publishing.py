"""Publish a checkpoint: write only its weights and their metadata to a file that contains no code."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from openmix import __version__
from openmix.engine.checkpoint import weights_of
from openmix.engine.export import new_file
from openmix.engine.inference_settings import INFERENCE, inference_settings
from openmix.errors import InputError
from openmix.weights_file import is_finite, read_file

# The entries of a run's meta that describe how the weights were trained; others describe the machine, or are long.
# mmengine's version is left out, because it contains the commit of the folder in which the run was started.
KEPT = ('epoch', 'iter', 'seed', 'recipe', 'judged', 'best', 'dataset_meta', 'time')
# The only entry of a .safetensors file's metadata: the order of several entries varies, and so would the file's hash.
METADATA = 'openmix'


def published_weights(checkpoint: Mapping[str, Any], path: Path, ema: bool) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by name, raw or the moving average, without what training alone needs.

    What that is, such as memories, queues and momentum encoders, the run has written beside the weights.

    Raises:
        InputError: there is no moving average, there are no weights, or some are not finite.
    """
    weights = weights_of(dict(checkpoint), path, ema)
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f"'{path}' holds no weights")
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(f"'{path}' holds a {type(value).__name__} under {key!r}, where weights have a tensor")
        if not is_finite(value):
            raise InputError(f"'{path}' is damaged: '{key}' in it is not finite; take an older checkpoint")
    meta = checkpoint.get('meta')
    memories = meta.get('memories') if isinstance(meta, Mapping) else None
    of_training = memories if isinstance(memories, list) else []
    return {key: value for key, value in weights.items() if key not in of_training}


def about(checkpoint: Mapping[str, Any], path: Path, ema: bool) -> dict[str, Any]:
    """Make the metadata of published weights, as plain values.

    Raises:
        InputError: the checkpoint's meta holds other values.
    """
    meta = checkpoint.get('meta') or {}
    if not isinstance(meta, Mapping):
        raise InputError(f"'{path}': its meta is a {type(meta).__name__}, not a mapping")
    kept = {key: value for key, value in meta.items() if key in KEPT}
    if isinstance(recipe := meta.get('resolved_recipe'), Mapping):
        kept[INFERENCE] = inference_settings(recipe)
    done, per_epoch = meta.get('iter'), meta.get('batches_per_epoch')
    if type(done) is int and type(per_epoch) is int and per_epoch > 0:
        # Recomputed, because the checkpoint of an epoch's last iteration is written before the epoch is counted.
        kept['epoch'] = done // per_epoch
    try:
        kept = json.loads(json.dumps(kept))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}': its meta holds more than numbers, words and lists of them: {error}") from error
    return kept | {'openmix': __version__, 'weights': 'moving average' if ema else 'raw'}


def safetensors_bytes(weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Return the content of a .safetensors file with weights, by name, and plain values as JSON in its metadata."""
    return save_safetensors(_plain(weights), {METADATA: json.dumps(dict(meta), sort_keys=True)})


def _plain(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy the weights, so that tied ones do not share memory, which safetensors refuses."""
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in weights.items()}


def write(
    weights: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    folder: Path,
    stem: str,
    suffix: str,
    check: Callable[[dict[str, Tensor]], None] | None = None,
) -> Path:
    """Write `<stem>-<first 8 digits of its SHA-256><suffix>`; the same weights give the same name.

    Args:
        weights: the weights, by name.
        meta: plain values; the entry 'meta' beside 'state_dict', or JSON in the metadata of a .safetensors file.
        folder: folder of the file.
        stem: start of the file's name.
        suffix: '.pth', for `torch.load`, or '.safetensors'.
        check: function of the weights as read back from the file, which raises if they are wrong; the file is then
            not created.

    Returns:
        the file.

    Raises:
        InputError: the path is not writable.
    """
    if suffix == '.safetensors':
        data = safetensors_bytes(weights, meta)
    else:
        plain = _plain(weights)
        content = io.BytesIO()  # torch writes a file's own name into it, which would change the digest
        torch.save({'meta': dict(meta), 'state_dict': plain}, content)
        data = content.getvalue()
    final = folder / f'{stem}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}'
    with new_file(final) as partial:
        partial.write_bytes(data)
        if check is not None:
            read = read_file(partial)
            check(read if suffix == '.safetensors' else read['state_dict'])
    return final
