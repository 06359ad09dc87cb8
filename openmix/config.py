"""Find, load, merge and compare recipes."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict
from mmengine.config import DictAction as MMDictAction
from mmengine.fileio import BaseFileHandler, register_handler

from openmix.errors import InputError, nearest

_PACKAGE = Path(__file__).resolve().parent
_SUFFIXES = ('.py', '.yaml', '.yml')
# What a run is, not what it computes: two runs that differ only here are the same experiment.
_NOT_HASHED = {
    *('work_dir', 'launcher', 'resume', 'log_level', 'visualizer', 'vis_backends', 'env_cfg', 'randomness'),
    'data_on_device',
}
_BOOKKEEPING = {'timer', 'logger', 'checkpoint', 'sampler_seed', 'visualization'}


def _shipped(folder: str) -> Path:
    """`configs` or `tools`: of the checkout when openmix runs from one, else of the installed wheel."""
    checkout = _PACKAGE.parent / folder
    return checkout if (_PACKAGE.parent / 'setup.py').is_file() else _PACKAGE / folder


def configs_dir() -> Path:
    """The folder that holds the recipes and tables."""
    return _shipped('configs')


def tools_path(name: str) -> Path:
    """A script of `tools/`, such as 'train.py'."""
    return _shipped('tools') / name


def config_path(name: str | Path) -> Path:
    """The file of a recipe or table, by path or by its name below `configs/` (suffix optional).

    Raises:
        InputError: there is no such file; the line names the nearest.
    """
    given = Path(name).expanduser()
    below = Path(*given.parts[1:]) if given.parts[:1] == ('configs',) else given
    for stem in (given, configs_dir() / below):
        for candidate in (stem, *(stem.with_name(stem.name + suffix) for suffix in _SUFFIXES)):
            if candidate.is_file():
                return candidate.resolve()
    known = [str(p.relative_to(configs_dir())) for p in configs_dir().rglob('*') if p.suffix in _SUFFIXES]
    known = [name for name in known if not name.startswith('_base_')]
    raise InputError(f"no config file '{name}'; {nearest(str(below), known)}")


class _YamlLoader(yaml.SafeLoader):
    """YAML as recipes mean it: 1e-3 is a float, on/off/yes/no are words, keys are unique strings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise InputError(f'YAML line {node.start_mark.line + 1}: key {key!r} is not a string; quote it')
            if keys.count(key) > 1:
                raise InputError(f"YAML line {node.start_mark.line + 1}: key '{key}' is given twice")
        return super().construct_mapping(node, deep)


_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((':bool', ':float', ':timestamp'))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver('tag:yaml.org,2002:bool', re.compile(r'^(?:true|True|false|False)$'), list('tTfF'))
_YamlLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$'),
    list('-+.0123456789'),
)


@register_handler(['yaml', 'yml'])
class _YamlHandler(BaseFileHandler):
    """Makes mmengine's Config read YAML through `_YamlLoader`."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return yaml.load(file, Loader=_YamlLoader)

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        yaml.safe_dump(obj, file, sort_keys=False)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        return yaml.safe_dump(obj, sort_keys=False)


class DictAction(MMDictAction):
    """mmengine's `--cfg-options KEY=VALUE ...`.

    Raises:
        InputError: an option is no KEY=VALUE, or its brackets do not close.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        for value in values or ():
            try:
                super().__call__(parser, namespace, [value], option_string)
            except (ValueError, AssertionError, IndexError) as error:
                raise InputError(
                    f"{option_string} takes KEY=VALUE, as in train_cfg.max_epochs=5, got '{value}'"
                ) from error


def load_yaml(path: str | Path) -> dict:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is not YAML, or not a mapping with unique string keys.
    """
    path = Path(path)
    try:
        loaded = yaml.load(path.read_text(encoding='utf-8'), Loader=_YamlLoader)
    except (yaml.YAMLError, InputError) as error:
        raise InputError(f'{path}: {" ".join(str(error).split())}') from error
    if not isinstance(loaded, dict):
        raise InputError(f'{path}: expected a mapping at the top level, got {type(loaded).__name__}')
    return loaded


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """A recipe with its `_base_` files merged and `options` (dotted keys) applied.

    Raises:
        InputError: the file is missing or does not parse, or an option does not fit it.
    """
    found = config_path(path)
    try:
        cfg = Config.fromfile(str(found))
    except InputError as error:
        raise InputError(f'{found}: {error}') from error
    except Exception as error:  # a recipe is a program: whatever it raises is the recipe's fault
        raise InputError(f'{found}: {type(error).__name__}: {" ".join(str(error).split())}') from error
    return apply_overrides(cfg, options or {}, '--cfg-options')


def _files_of(path: Path) -> list[Path]:
    """A recipe's own file, then the files it inherits from, nearest first."""
    files = [path]
    for file in files:
        bases = Config._get_base_files(str(file)) if file.suffix in _SUFFIXES else []
        files += [base for base in ((file.parent / base).resolve() for base in bases) if base not in files]
    return files


def origin(cfg: Config, place: str) -> str:
    """What set a dotted place of a recipe: an option, or a file of its chain; '' where that is unknown.

    The nearest file that names the place's last key beside its first is taken to have set it.
    """
    for key, source in reversed(_set_by(cfg).items()):
        if f'{place}.'.startswith(f'{key}.') or key.startswith(f'{place}.'):
            return f'{source} {key}'
    if not cfg.filename or not Path(cfg.filename).is_file():
        return ''
    texts = {file: file.read_text(encoding='utf-8') for file in _files_of(Path(cfg.filename))}
    parts = [part for part in place.split('.') if not part.isdigit() and part != 'type']
    for part in reversed(parts):
        for file, text in texts.items():
            if all(re.search(rf'(?<!\w){re.escape(name)}(?!\w)', text) for name in (parts[0], part)):
                return _shown(file)
    return _shown(Path(cfg.filename))


def _set_by(cfg: Config) -> dict[str, str]:
    """Dotted key -> who overrode it; beside the recipe, not in it."""
    return cfg.__dict__.get('_set_by', {})


def _shown(file: Path) -> str:
    relative = os.path.relpath(file)
    return str(file) if relative.startswith('..') else relative


def apply_overrides(cfg: Config, overrides: Mapping[str, Any], source: str = 'override') -> Config:
    """Merge dotted keys into a copy of `cfg`.

    A dict value with `_delete_: True` replaces what stands there, as a policy or loss needs (a merge
    would keep the old one's arguments); replacements go first, so that a dotted key may refine one.
    `source` is what an error about one of them is traced to, see `origin`.

    Raises:
        InputError: a key's parent does not exist in the recipe.
    """
    set_by = _set_by(cfg) | dict.fromkeys(overrides, source)
    cfg = copy.deepcopy(cfg)
    object.__setattr__(cfg, '_set_by', set_by)
    replace = {k: v for k, v in overrides.items() if isinstance(v, Mapping) and v.get('_delete_')}
    for key, value in [*replace.items(), *((k, v) for k, v in overrides.items() if k not in replace)]:
        parent = _parent(cfg, key)
        leaf = key.rpartition('.')[2]
        if leaf == '_delete_':
            raise InputError(f"option '{key}': a replacement is written in a recipe, dict(_delete_=True, type=...)")
        if key in replace:
            parent[leaf] = ConfigDict({k: v for k, v in value.items() if k != '_delete_'})
        elif isinstance(parent, list):
            parent[int(leaf)] = value
        elif isinstance(parent, Mapping) and isinstance(value, Mapping) and isinstance(parent.get(leaf), Mapping):
            cfg.merge_from_dict({key: dict(value)})
        else:
            parent[leaf] = value
    _strip_delete(cfg._cfg_dict)
    return cfg


def _parent(cfg: Config, key: str) -> Any:
    """The container that holds the last part of a dotted key."""
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
    """Drop `_delete_` marks: nested in a replaced dict they would reach a constructor."""
    if isinstance(node, dict):
        node.pop('_delete_', None)
        for value in node.values():
            _strip_delete(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _strip_delete(value)


def config_hash(cfg: Config) -> str:
    """12 hex digits over everything in a recipe that decides its result, the seed left out."""
    kept = {k: v for k, v in cfg._cfg_dict.to_dict().items() if k not in _NOT_HASHED}
    hooks = kept.pop('default_hooks', None) or {}
    kept['default_hooks'] = {k: v for k, v in hooks.items() if k not in _BOOKKEEPING}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]


def flatten(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of a recipe."""
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
    """One line a setting that differs: '- key = old', '+ key = new'."""
    before, after = (dict(flatten(cfg._cfg_dict.to_dict())) for cfg in (old, new))
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after and before[key] == after[key]:
            continue
        lines += [f'- {key} = {before[key]!r}'] if key in before else []
        lines += [f'+ {key} = {after[key]!r}'] if key in after else []
    return lines


def bases_of(path: str | Path) -> Config:
    """What a recipe inherits: its `_base_` files merged, without its own settings."""
    merged = Config()
    for base in Config._get_base_files(str(config_path(path))):
        merged.merge_from_dict(Config.fromfile(str(config_path(path).parent / base))._cfg_dict.to_dict())
    return merged


def work_dir_of(path: str | Path) -> Path:
    """`work_dirs/` mirrors the recipe's place below `configs/`; a recipe elsewhere goes by its stem."""
    found = config_path(path)
    if found.is_relative_to(configs_dir()):
        return Path('work_dirs') / found.relative_to(configs_dir()).with_suffix('')
    return Path('work_dirs') / found.stem
