"""Dotted keys on top of a recipe, and who set what in it."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from openmix.config_files import files_of
from openmix.errors import InputError, brief, close_to, nearest
from openmix.recipe_file import BASE, check_plain, unshared
from openmix.regular_file import read_text
from openmix.yaml_file import MOST_BYTES


def origin(cfg: Config, place: str) -> str:
    """Find the option or the file that set a dotted key of a recipe; '' if it is unknown.

    The file is the nearest one that contains both the first and the last part of the key.
    """
    for key, source in reversed(_set_by(cfg).items()):
        if f'{place}.'.startswith(f'{key}.') or key.startswith(f'{place}.'):
            return f'{source} {key}'
    if not cfg.filename or not Path(cfg.filename).is_file():
        return ''
    texts = {file: read_text(file, MOST_BYTES) for file in files_of(Path(cfg.filename))}
    parts = [part for part in place.split('.') if not part.isdigit() and part != 'type']
    for part in reversed(parts):
        for file, text in texts.items():
            if all(re.search(rf'(?<!\w){re.escape(name)}(?!\w)', text) for name in (parts[0], part)):
                return _shown(file)
    return _shown(Path(cfg.filename))


def _set_by(cfg: Config) -> dict[str, str]:
    """Return the source of every overridden dotted key; it is stored on the config object, not in the recipe."""
    return cfg.__dict__.get('_set_by', {})


def _shown(file: Path) -> str:
    relative = os.path.relpath(file)
    return str(file) if relative.startswith('..') else relative


def apply_overrides(cfg: Config, overrides: Mapping[str, Any], source: str = 'override') -> Config:
    """Merge dotted keys into a copy of `cfg`.

    A dict with `_delete_: True` replaces the old value instead of being merged into it; a policy or loss needs this,
    because a merge would keep the arguments of the old one. Replacements are applied first, so that a dotted
    key may change a part of one.

    Args:
        cfg: the recipe.
        overrides: dotted key -> value.
        source: name of the overrides in error messages, see `origin`.

    Raises:
        InputError: a key's parent does not exist in the recipe.
    """
    set_by = _set_by(cfg) | dict.fromkeys(overrides, source)
    cfg = copy.deepcopy(cfg)
    object.__setattr__(cfg, '_set_by', set_by)
    replace = {k: v for k, v in overrides.items() if isinstance(v, Mapping) and v.get('_delete_')}
    for key, value in [*replace.items(), *((k, v) for k, v in overrides.items() if k not in replace)]:
        _check_override(key, value)
        value = unshared(value)  # overrides are applied again, and merging takes `_delete_` out of dicts in place
        parent = _parent(cfg, key, value)
        leaf = key.rpartition('.')[2]
        if leaf == '_delete_':
            raise InputError(f"option '{key}': a replacement is written in a recipe, dict(_delete_=True, type=...)")
        if key in replace:
            value = ConfigDict({k: v for k, v in value.items() if k != '_delete_'})
        if isinstance(parent, list):
            if not leaf.isdigit() or int(leaf) >= len(parent):
                places = [str(i) for i in range(len(parent))]
                raise InputError(f"option '{key}': '{leaf}' is no place of that list; {nearest(leaf, places)}")
            parent[int(leaf)] = value
        elif key not in replace and isinstance(value, Mapping) and isinstance(parent.get(leaf), Mapping):
            cfg.merge_from_dict({key: dict(value)})
        else:
            parent[leaf] = value
    _strip_delete(cfg._cfg_dict)
    return cfg


def _check_override(key: str, value: Any) -> None:
    """Raise an `InputError` if a dotted key cannot name a setting, or a recipe may not hold its value."""
    first = key.partition('.')[0]
    if not re.fullmatch(r'[\w/ -]+(\.[\w/ -]+)*', key):
        raise InputError(f'option {brief(key)}: a key is names with dots between them, as in train_cfg.max_epochs')
    if first == BASE:
        raise InputError(f"option '{key}': what a recipe inherits is written in the recipe")
    if first == 'custom_imports':
        raise InputError(f"option '{key}': what a recipe imports is written in a Python recipe")
    try:
        check_plain({first: {key.rpartition('.')[2]: value}})
    except InputError as error:
        raise InputError(f"option '{key}': {error}") from error


def _parent(cfg: Config, key: str, value: Any) -> Any:
    """Return the container that holds the last part of a dotted key.

    Args:
        value: what the key is set to, for the error line.

    Raises:
        InputError: there is none.
    """
    node: Any = cfg._cfg_dict
    walked: list[str] = []
    parts = key.split('.')
    for part in parts[:-1]:
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            valid = list(node) if isinstance(node, Mapping) else [str(i) for i in range(len(node))]
            where = '.'.join(walked) or 'the recipe'
            added = '' if isinstance(node, list) or close_to(part, valid) else _added(parts, len(walked), value)
            raise InputError(f"option '{key}': '{part}' is not in {where}; {nearest(part, valid)}{added}")
        walked.append(part)
        if not isinstance(node, (Mapping, list)):
            raise InputError(f"option '{key}': '{'.'.join(walked)}' is {node!r}, which holds no keys")
    return node


def _added(parts: list[str], depth: int, value: Any) -> str:
    """Write the end of an error line about a part of a key that a recipe does not have: how it is added."""
    # What is written differently inside of braces, as a list is, is left to the reader.
    text = str(value) if isinstance(value, (str, int, float)) and re.fullmatch(r'[\w.+-]+', str(value)) else '...'
    for part in reversed(parts[depth + 1 :]):
        text = f'{{{part}: {text}}}'
    return f"; what the recipe does not have is given whole: '{'.'.join(parts[: depth + 1])}={text}'"


def _strip_delete(node: Any) -> None:
    """Remove nested `_delete_` marks, which would otherwise reach a constructor as an argument."""
    if isinstance(node, dict):  # by dict's own methods: mmengine's look for lazy objects, which recipes do not hold
        dict.pop(node, '_delete_', None)
        for value in dict.values(node):
            _strip_delete(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _strip_delete(value)
