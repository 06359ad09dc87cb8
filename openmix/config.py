"""Find, load, merge and compare recipes."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from openmix.errors import InputError, brief, close_to_any, nearest
from openmix.options import OptionText
from openmix.recipe_file import BASE, check_plain, parse_source, read_settings
from openmix.regular_file import open_regular, read_text
from openmix.yaml_file import MOST_BYTES

_PACKAGE = Path(__file__).resolve().parent
_SUFFIXES = ('.py', '.yaml', '.yml')
# Keys that do not change the results of a run: two runs that differ only here are the same experiment.
_NOT_HASHED = {
    *('work_dir', 'launcher', 'resume', 'log_level', 'visualizer', 'vis_backends', 'env_cfg', 'randomness'),
    'data_on_device',
}
# Former names of renamed hooks, which are hashed instead, so that a new name does not change a recipe's hash.
_FORMER = {'AlgorithmHook': 'MixPolicyHook'}
_BOOKKEEPING = {'timer', 'logger', 'checkpoint', 'sampler_seed', 'visualization'}


def _shipped(folder: str) -> Path:
    """Return the folder `configs` or `tools` of the checkout, or of the installed wheel outside a checkout."""
    checkout = _PACKAGE.parent / folder
    return checkout if (_PACKAGE.parent / 'setup.py').is_file() else _PACKAGE / folder


def configs_dir() -> Path:
    """Return the folder that holds the recipes and tables."""
    return _shipped('configs')


def tools_path(name: str) -> Path:
    """Return the path of a script in `tools/`, such as 'train.py'."""
    return _shipped('tools') / name


def _candidates(stem: Path) -> list[Path]:
    """List the files that a name can mean: with its own suffix, or with one of a recipe added."""
    return [stem, *(stem.with_name(stem.name + suffix) for suffix in _SUFFIXES if stem.name)]


def _from_home(name: str | Path) -> Path:
    """Expand `~` in a path, unless the path has a NUL byte, which `expanduser` does not accept."""
    return Path(name if '\0' in str(name) else os.path.expanduser(name))


def _first_file(stems: Iterable[Path]) -> Path | None:
    for stem in stems:
        for candidate in _candidates(stem):
            if os.path.isfile(candidate):  # false for a name that is too long or has a NUL byte
                return Path(os.path.realpath(candidate))
    return None


def _below_configs(name: Path) -> Path:
    """Return the path of a shipped file, named with or without `configs/` in front."""
    return configs_dir() / Path(*name.parts[1:] if name.parts[:1] == ('configs',) else name.parts)


def _known() -> list[str]:
    """List the names of all shipped recipes and tables."""
    known = [p.relative_to(configs_dir()).as_posix() for p in configs_dir().rglob('*') if p.suffix in _SUFFIXES]
    return sorted(name for name in known if not name.startswith('_base_'))


def is_shipped(file: Path) -> bool:
    """Return true if a file is in openmix's own `configs/`; a YAML recipe may inherit from these Python files only."""
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(configs_dir()))


def config_path(name: str | Path) -> Path:
    """Find the file of a recipe or table, by path or by name below `configs/` (suffix optional).

    Raises:
        InputError: there is no such file; the line names the nearest one.
    """
    given = _from_home(name)
    if found := _first_file([given, _below_configs(given)]):
        return found
    for folder in (given, _below_configs(given)):
        if str(name) and os.path.isdir(folder):
            held = sorted(path.name for path in folder.iterdir() if path.suffix in _SUFFIXES)
            told = f', which holds {", ".join(held[:10])}' if held else ''
            raise InputError(f'{brief(str(name))} is a folder{told}; no config file')
    if str(name) and os.path.lexists(given):
        open_regular(given).close()  # raises an error that names the kind of file
    raise InputError(f'no config file {brief(str(name))}; {close_to_any(str(given), [*_beside(given), *_known()])}')


def _beside(given: Path) -> list[str]:
    """List the recipe files in the folder of a path that does not exist, to suggest one of them."""
    try:
        return [str(given.parent / path.name) for path in given.parent.iterdir() if path.suffix in _SUFFIXES]
    except (OSError, ValueError):
        return []


def base_path(name: str, by: Path) -> Path:
    """Find the file that `_base_` names in the file `by`: relative to `by`, or one that is shipped with openmix.

    'openmix::classification/...', 'configs/classification/...' and 'classification/...' name a shipped
    file; except with 'openmix::', a file at that path relative to `by` is preferred.

    Raises:
        InputError: there is no such file; the line names the nearest one.
    """
    package, _, inner = name.rpartition('::')
    if package not in ('', 'openmix'):
        raise InputError(f"{by}: _base_ = {brief(name)}: files are known of 'openmix::' alone")
    given = _from_home(inner)
    beside = [] if package else [by.parent / given]
    if inner and (found := _first_file([*beside, _below_configs(given)])):
        return found
    near = sorted(p.name for p in by.parent.iterdir() if p.suffix in _SUFFIXES and p != by)
    raise InputError(f'{by}: no file {brief(name)} to inherit from; {close_to_any(inner, [*_known(), *near])}')


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a recipe, merge its `_base_` files and apply `options` (dotted keys).

    Raises:
        InputError: the file is missing or does not parse, or an option does not fit it.
    """
    cfg = read_settings(config_path(path), base_path, is_shipped)
    return apply_options(cfg, options or {})


def apply_options(cfg: Config, options: Mapping[str, Any]) -> Config:
    """Merge `--cfg-options` into a copy of `cfg`; a typed text gets the type that its parameter is annotated with.

    Raises:
        InputError: an option does not fit the recipe, or nothing reads it.
    """
    cfg = apply_overrides(cfg, options, '--cfg-options')
    if typed := [key for key, value in options.items() if isinstance(value, OptionText)]:
        from openmix.settle import settle  # imports torch, which reading annotations needs

        cfg = settle(cfg, typed)
    return cfg


def files_of(path: Path) -> list[Path]:
    """List a recipe's own file and the files that it inherits from, nearest first."""
    files = [path]
    for file in files:
        bases = [base_path(name, file) for name in parse_source(file).bases]
        files += [base for base in bases if base not in files]
    return files


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
        parent = _parent(cfg, key)
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


def _parent(cfg: Config, key: str) -> Any:
    """Return the container that holds the last part of a dotted key.

    Raises:
        InputError: there is none.
    """
    node: Any = cfg._cfg_dict
    walked: list[str] = []
    for part in key.split('.')[:-1]:
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            valid = list(node) if isinstance(node, Mapping) else [str(i) for i in range(len(node))]
            where = '.'.join(walked) or 'the recipe'
            raise InputError(f"option '{key}': '{part}' is not in {where}; {nearest(part, valid)}")
        walked.append(part)
        if not isinstance(node, (Mapping, list)):
            raise InputError(f"option '{key}': '{'.'.join(walked)}' is {node!r}, which holds no keys")
    return node


def _strip_delete(node: Any) -> None:
    """Remove nested `_delete_` marks, which would otherwise reach a constructor as an argument."""
    if isinstance(node, dict):
        node.pop('_delete_', None)
        for value in node.values():
            _strip_delete(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _strip_delete(value)


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
    if not isinstance(hook, Mapping) or hook.get('type') not in _FORMER:
        return hook
    return {**hook, 'type': _FORMER[hook['type']]}


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


def bases_of(path: str | Path) -> Config:
    """Merge the `_base_` files of a recipe, without its own settings."""
    found = config_path(path)
    merged = Config()
    for name in parse_source(found).bases:
        merged.merge_from_dict(read_settings(base_path(name, found), base_path, is_shipped)._cfg_dict.to_dict())
    return merged


def work_dir_of(path: str | Path) -> Path:
    """Return a run's folder: `work_dirs/` plus the recipe's path below `configs/`, or its stem for other recipes."""
    found = config_path(path)
    if found.is_relative_to(configs_dir()):
        return Path('work_dirs') / found.relative_to(configs_dir()).with_suffix('')
    return Path('work_dirs') / found.stem
