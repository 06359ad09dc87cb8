"""The settings of a recipe by dotted key, their differences, and the hash of those that decide its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

# Keys that do not change the results of a run: two runs that differ only here are the same experiment.
_NOT_HASHED = {
    *('work_dir', 'launcher', 'resume', 'log_level', 'visualizer', 'vis_backends', 'env_cfg', 'randomness'),
    'data_on_device',
}


# Former names of renamed hooks, which are hashed instead, so that a new name does not change a recipe's hash.
_FORMER = {'AlgorithmHook': 'MixPolicyHook'}


_BOOKKEEPING = {'timer', 'logger', 'checkpoint', 'sampler_seed', 'visualization'}


def config_hash(cfg: Config) -> str:
    """Hash all settings of a recipe that determine its result, except the seed, to 12 hex digits."""
    kept = {k: v for k, v in cfg._cfg_dict.to_dict().items() if k not in _NOT_HASHED}
    if isinstance(kept.get('weights'), Mapping):
        kept['weights'] = start_of(kept['weights'])
    hooks = kept.pop('default_hooks', None) or {}
    kept['default_hooks'] = {k: v for k, v in hooks.items() if k not in _BOOKKEEPING}
    for key in kept:
        if key.endswith('_dataloader'):
            kept[key] = _without_places_of_lists(kept[key])
    custom = kept.get('custom_hooks')
    if isinstance(custom, list):
        kept['custom_hooks'] = [by_former_name(hook) for hook in custom]
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _without_places_of_lists(node: Any) -> Any:
    """Return a loader without the path of a `subset`; the data's fingerprint covers the content of this list."""
    if isinstance(node, Mapping):
        listed = {'subset': 'a list'} if isinstance(node.get('subset'), str) else {}
        return {key: _without_places_of_lists(value) for key, value in node.items()} | listed
    return [_without_places_of_lists(value) for value in node] if isinstance(node, (list, tuple)) else node


def by_former_name(hook: Any) -> Any:
    """Return a hook's dict with the former name of a renamed hook, by which recipes are hashed and compared."""
    kind = hook.get('type') if isinstance(hook, Mapping) else None
    return {**hook, 'type': _FORMER[kind]} if isinstance(kind, str) and kind in _FORMER else hook


def start_of(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keys of a recipe's `weights` that identify the initial weights.

    Weights from a run of openmix are identified by that run's recipe and seed, because training it again
    gives the same experiment in another file. Other weights are identified by the content of their file.
    """
    known = ('run', 'seed') if weights.get('run') else ('file',)
    return {key: weights[key] for key in known if weights.get(key) is not None}


def flatten(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of a recipe."""
    items: Any = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)) and any(isinstance(value, Mapping) for value in node):
        items = enumerate(node)
    if not items:
        yield prefix, node
    for key, value in items:
        yield from flatten(value, f'{prefix}.{key}' if prefix else str(key))


def diff(old: Config, new: Config) -> list[str]:
    """List the settings that differ, as lines '- key = old' and '+ key = new'."""
    before, after = (dict(flatten(cfg._cfg_dict.to_dict())) for cfg in (old, new))
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after and before[key] == after[key]:
            continue
        lines += [f'- {key} = {before[key]!r}'] if key in before else []
        lines += [f'+ {key} = {after[key]!r}'] if key in after else []
    return lines
