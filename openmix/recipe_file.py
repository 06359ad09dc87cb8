"""Read a recipe and the files that it inherits from.

A Python recipe is a program and is run. A YAML recipe is data and runs no code, except of the recipes of
openmix that it inherits from; otherwise it may inherit only from YAML files.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

from mmengine.config import Config, ConfigDict

from openmix.errors import InputError, brief
from openmix.recipe_published import PUBLISHED, Published, inherited, keep_published, take_published
from openmix.recipe_text import Recipe, is_program
from openmix.regular_file import read_text
from openmix.yaml_file import DEEPEST, MOST_BYTES, MOST_NODES, parse_yaml

BASE = '_base_'
# Modules that Python recipes named in `custom_imports`: a `type` may name their classes by full path.
DECLARED: set[str] = set()
_RESERVED = ('filename', 'text', 'pretty_text', 'env_variables')
_SUBSTITUTED = re.compile(
    r'\{\{\s*(?:file(?:Dirname|Basename|BasenameNoExtension|Extname)|_base_\.[\w.]+)\s*\}\}|\{\{[\'"]?\s*\$\w+\s*:'
)


@dataclass(frozen=True)
class Source:
    """One file of a recipe, parsed but not run.

    Attributes:
        path: the file.
        bases: the names in its `_base_`.
        data: the content of a YAML file; None for Python.
        code: the program of a Python file, without the `_base_` line; None for YAML.
    """

    path: Path
    bases: tuple[str, ...]
    data: dict[str, Any] | None = None
    code: CodeType | None = None


@dataclass
class Found:
    """The result of reading a chain of files: the settings, `published`, and the files in the order of merging."""

    settings: ConfigDict = field(default_factory=ConfigDict)
    published: Published = field(default_factory=Published)
    texts: list[str] = field(default_factory=list)


def parse_source(path: Path) -> Source:
    """Parse one file of a recipe.

    Raises:
        InputError: it cannot be read, is neither Python nor YAML, or its `_base_` is not a name or a list of names.
    """
    text = read_text(path, MOST_BYTES)
    if found := _SUBSTITUTED.search(text):
        raise InputError(
            f'{path}: {brief(found[0])}: texts in double braces are not filled in; '
            f'in a Python recipe write {BASE}.NAME, __file__ or os.environ instead'
        )
    try:
        if path.suffix in ('.yaml', '.yml'):
            return _parse_yaml_source(path, text)
        if path.suffix == '.py':
            return _parse_python_source(path, text)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    raise InputError(f'{path}: a recipe ends in .py, .yaml or .yml')


def _parse_yaml_source(path: Path, text: str) -> Source:
    data = parse_yaml(text)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(f'expected a mapping at the top level, got {type(data).__name__}')
    if 'custom_imports' in data:
        raise InputError('custom_imports runs code, and a YAML recipe is data: write a Python recipe')
    bases = _bases(data.pop(BASE, None))
    return Source(path, bases, data=data)


@lru_cache(maxsize=512)
def _parse_python_source(path: Path, text: str) -> Source:
    """Parse a Python recipe once for each content: most recipes of a table inherit from the same few files."""
    try:
        tree = ast.parse(text, str(path))
        bases: tuple[str, ...] = ()
        for statement in tree.body:
            if isinstance(statement, ast.With) and 'read_base' in ast.unparse(statement.items[0]):
                raise InputError(f"read_base is not read; inherit with {BASE} = 'FILE'")
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == BASE:
                bases = _bases(ast.literal_eval(statement.value))
        tree.body = [s for s in tree.body if not (isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == BASE)]
        return Source(path, bases, code=compile(tree, str(path), 'exec'))
    except SyntaxError as error:
        where = f' (line {error.lineno})' if error.lineno else ''
        raise InputError(f'SyntaxError: {error.msg}{where}') from error
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, a computed _base_, great depth
        raise InputError(f'{type(error).__name__}: {" ".join(str(error).split()) or "too deep"}') from error


def _bases(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f'{BASE} must be a file or a list of files, written out, got {brief(value)}')
    return tuple(names)


def read_settings(path: Path, base_path: Callable[[str, Path], Path], is_ours: Callable[[Path], bool]) -> Config:
    """Read a recipe and merge everything that it inherits.

    Args:
        path: the file of the recipe.
        base_path: function that finds the file of a name in `_base_`, given the file that contains the name.
        is_ours: function that returns true for files of openmix, the only Python files that YAML may inherit from.

    Raises:
        InputError: a file of the chain cannot be read, fails, inherits from itself, or has a setting that recipes
            may not have.
    """
    found = _read(path, base_path, is_ours, ())
    _import_declared(path, found.settings)
    text = '\n'.join(found.texts)
    cfg = Recipe(found.settings, cfg_text=text or ' ', filename=str(path))
    keep_published(cfg, found.published)
    return cfg


def _read(path: Path, base_path: Any, is_ours: Any, above: tuple[Path, ...]) -> Found:
    if path in above:
        raise InputError(f'{path}: inherits from itself, by {" and ".join(str(file) for file in above)}')
    if len(above) > DEEPEST:
        raise InputError(f'{path}: more than {DEEPEST} files inherit from one another')
    source = parse_source(path)
    bases = Found()
    for name in source.bases:
        file = base_path(name, path)
        if path.suffix != '.py' and file.suffix == '.py' and not is_ours(file):
            raise InputError(
                f"{path}: a YAML recipe is data and does not run '{file}': "
                'inherit from YAML or from a recipe of openmix, or write this one in Python'
            )
        one = _read(file, base_path, is_ours, (*above, path))
        if twice := sorted(bases.settings.keys() & one.settings.keys()):
            raise InputError(f"{path}: two files of {BASE} set '{twice[0]}'; name what they share in one of them")
        if twice := sorted(bases.published.settings.keys() & one.published.settings.keys()):
            raise InputError(f"{path}: two files of {BASE} set '{twice[0]}' in {PUBLISHED}; name it in one of them")
        bases.settings.update(one.settings)
        bases.published.settings.update(one.published.settings)
        bases.published.lost.update(one.published.lost)
        bases.texts += one.texts
    settings = source.data if source.data is not None else _run(source, bases.settings)
    try:
        check_plain(settings)
        published = inherited(unshared(take_published(settings)), settings, bases.published)
        merged = Config._merge_a_into_b(unshared(settings), bases.settings)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    except TypeError as error:  # a dict would be merged into a value that is not a dict
        raise InputError(f'{path}: {" ".join(str(error).split())}') from error
    return Found(ConfigDict(merged), published, [*bases.texts, str(path)])


def _run(source: Source, bases: ConfigDict) -> dict[str, Any]:
    """Run a Python recipe and return its variables, without modules, functions and classes."""
    assert source.code is not None
    variables = {BASE: bases, '__file__': str(source.path), '__name__': source.path.stem}
    given = set(variables)
    try:
        exec(source.code, variables)
    except (Exception, SystemExit) as error:  # a recipe is a program and may raise any exception
        told = ' '.join(str(error).split())
        raise InputError(f'{source.path}: {type(error).__name__}: {told}') from error
    if variables.get(BASE) is not bases:
        raise InputError(f'{source.path}: write {BASE} = ... by itself and at the left margin, or it is not read')
    own = {key: value for key, value in variables.items() if key not in given and not key.startswith('__')}
    return {key: value for key, value in own.items() if isinstance(value, Mapping) or not is_program(value)}


def check_plain(settings: Mapping[str, Any]) -> None:
    """Check that keys and values are those that any recipe may have.

    Raises:
        InputError: a key is not a string or is reserved by mmengine, a value contains itself, or there are too many
            values or levels.
    """
    for key in settings:
        if key in _RESERVED or (isinstance(key, str) and (not key.isidentifier() or keyword.iskeyword(key))):
            raise InputError(f'{brief(key)} cannot be a setting of a recipe; choose a plain name')
    count = 0
    for count, _ in enumerate(_nodes(settings, '', ()), 1):
        if count > MOST_NODES:
            raise InputError(f'more than {MOST_NODES:,} values')


def _nodes(node: Any, place: str, above: tuple[int, ...]) -> Iterator[str]:
    yield place
    if not isinstance(node, (Mapping, list, tuple)):
        return
    if id(node) in above:
        raise InputError(f'{place}: holds itself')
    if len(above) > DEEPEST:
        raise InputError(f'{place[:80]}...: more than {DEEPEST} levels deep')
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        if isinstance(node, Mapping) and not isinstance(key, str):
            raise InputError(f'{place or "the recipe"}: key {brief(key)} is not a string; quote it')
        if key == '_scope_':
            raise InputError(
                f'{place}: _scope_ would import another package; name it in custom_imports of a Python recipe'
            )
        yield from _nodes(value, f'{place}.{key}' if place else str(key), (*above, id(node)))


def unshared(node: Any) -> Any:
    """Copy a value so that no two places share a dict, because merging removes `_delete_` from dicts in place.

    A set becomes a sorted list: its order differs between processes, and the hash of the recipe would too.
    """
    if isinstance(node, (set, frozenset)):
        return sorted(node, key=repr)
    if isinstance(node, Mapping):
        return {key: unshared(value) for key, value in node.items()}
    return type(node)(map(unshared, node)) if type(node) in (list, tuple) else node


def _import_declared(path: Path, settings: ConfigDict) -> None:
    """Import the modules that Python files of the chain name in `custom_imports`."""
    declared = settings.get('custom_imports')
    if declared is None:
        return
    modules = declared.get('imports') if isinstance(declared, Mapping) else None
    modules = [modules] if isinstance(modules, str) else modules
    if not isinstance(modules, (list, tuple)) or not all(isinstance(module, str) for module in modules):
        raise InputError(f"{path}: custom_imports must be dict(imports=['MODULE', ...]), got {brief(declared)}")
    if unknown := set(declared) - {'imports', 'allow_failed_imports'}:
        raise InputError(f"{path}: custom_imports has no '{sorted(unknown)[0]}'; valid: imports, allow_failed_imports")
    for module in modules:
        try:
            import_module(module)
        except Exception as error:
            if declared.get('allow_failed_imports') and isinstance(error, ImportError):
                continue
            told = f'{type(error).__name__}: {" ".join(str(error).split())}'
            raise InputError(
                f"{path}: custom_imports: '{module}' cannot be imported: {told}; is its folder in PYTHONPATH?"
            ) from error
        DECLARED.add(module)
