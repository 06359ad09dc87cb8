"""Where recipes and tables lie: files by path or by name, and what a recipe inherits from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from openmix.errors import InputError, brief, close_to_any
from openmix.recipe_file import parse_source
from openmix.regular_file import open_regular
from openmix.shipped import configs_dir

_SUFFIXES = ('.py', '.yaml', '.yml')


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


def files_of(path: Path) -> list[Path]:
    """List a recipe's own file and the files that it inherits from, nearest first."""
    files = [path]
    for file in files:
        bases = [base_path(name, file) for name in parse_source(file).bases]
        files += [base for base in bases if base not in files]
    return files


def work_dir_of(path: str | Path) -> Path:
    """Return a run's folder: `work_dirs/` plus the recipe's path below `configs/`, or its stem for other recipes."""
    found = config_path(path)
    if found.is_relative_to(configs_dir()):
        return Path('work_dirs') / found.relative_to(configs_dir()).with_suffix('')
    return Path('work_dirs') / found.stem
