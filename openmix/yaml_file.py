"""Read YAML as data for recipes and tables: plain values only, of bounded size and depth.

1e-3 is a float; on, off, yes, no, dates and 010 are strings; keys are unique strings.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from openmix.errors import InputError, brief
from openmix.regular_file import read_text

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML built without libyaml: ten times slower
    from yaml import SafeLoader  # type: ignore[assignment]

MOST_BYTES = 16 * 2**20
# Largest number of values in a document, with aliases expanded: a few nested aliases could fill the memory.
MOST_NODES = 10**6
DEEPEST = 50
_LARGEST = 2**63 - 1

_RESOLVERS = {
    'bool': (r'true|True|false|False', 'tTfF'),
    'null': (r'~|null|Null|NULL|', '~nN\0'),
    'int': (r'[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+', '-+0123456789'),
    'float': (r'[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)', '-+.0123456789'),
    'merge': (r'<<', '<'),
}


def resolvers(null: str = _RESOLVERS['null'][0]) -> dict[str, list[tuple[str, re.Pattern]]]:
    """Make PyYAML's table of the types of plain scalars, by first character; `null` is the pattern of null values."""
    found: dict[str, list[tuple[str, re.Pattern]]] = {}
    for tag, (pattern, firsts) in (_RESOLVERS | {'null': (null, _RESOLVERS['null'][1])}).items():
        for first in firsts:
            entry = (f'tag:yaml.org,2002:{tag}', re.compile(rf'(?:{pattern})$'))
            found.setdefault('' if first == '\0' else first, []).append(entry)
    return found


class _Loader(SafeLoader):
    yaml_implicit_resolvers = resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            where = f'line {key_node.start_mark.line + 1}'
            if key_node.tag == 'tag:yaml.org,2002:merge':
                raise InputError(f'{where}: merge keys (<<) are not read; name what to start from with _base_')
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise InputError(f'{where}: key {brief(key)} is not a string; quote it')
            if key in seen:
                raise InputError(f'{where}: key {brief(key)} is given twice')
            seen.add(key)
        return super().construct_mapping(node, deep)

    def number(self, node: yaml.ScalarNode) -> int | float:
        """Convert a scalar to a number.

        Raises:
            InputError: it is not a number, or too large for 64 bits or a float.
        """
        text = self.construct_scalar(node)
        where = f'line {node.start_mark.line + 1}'
        try:
            if node.tag.endswith(':int'):
                digits = text.replace('_', '')
                value = int(digits, 0) if len(digits) < 25 else _LARGEST + 1
                if abs(value) > _LARGEST:
                    raise InputError(f'{where}: {brief(text)} is too large a number; quote it if it is a text')
                return value
            found = float(text.replace('.inf', 'inf').replace('.nan', 'nan'))
        except ValueError as error:
            raise InputError(f'{where}: {brief(text)} is not a number') from error
        if math.isinf(found) and '.inf' not in text:
            raise InputError(f'{where}: {brief(text)} is too large a number; quote it if it is a text')
        return found


for _tag in ('int', 'float'):
    _Loader.add_constructor(f'tag:yaml.org,2002:{_tag}', _Loader.number)


class OptionLoader(_Loader):
    """A loader for values on the command line, where `None` is null, also in lists and mappings."""

    yaml_implicit_resolvers = resolvers(_RESOLVERS['null'][0] + 'None|')


class _Dumper(yaml.SafeDumper):
    """A dumper whose output `_Loader` reads back as the same values."""

    yaml_implicit_resolvers = resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: yaml.representer.BaseRepresenter, text: str) -> yaml.Node:
    # Only in double quotes can a brace be escaped.
    return dumper.represent_scalar('tag:yaml.org,2002:str', text, style='"' if '{{' in text else None)


_Dumper.add_representer(str, _text_node)


def parse_yaml(text: str, loader_type: type[_Loader] = _Loader) -> Any:
    """Parse a YAML text to plain values; no code in it is run.

    Raises:
        InputError: it is not YAML, has tags or merge keys, or is too large or too deep.
    """
    if len(text) > MOST_BYTES:
        raise InputError(f'{len(text) / 2**20:.0f} MB of YAML; at most {MOST_BYTES // 2**20} are read')
    try:
        _check_events(text)
        loader = loader_type(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}, set()) > MOST_NODES:
                raise InputError(f'aliases make it more than {MOST_NODES:,} values')
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise InputError(f'not YAML: {" ".join(str(error).split())}') from error
    except UnicodeEncodeError as error:  # libyaml needs UTF-8
        raise InputError(f'not YAML: {error.object[error.start]!r} is no character') from error


def parse_scalar(text: str) -> Any:
    """Read a plain scalar: a number, True, None, or else the text itself, with its blanks, commas and colons.

    Raises:
        InputError: a number is too large.
    """
    known = [tag for tag, pattern in resolvers().get(text[:1], []) if pattern.match(text)]
    return parse_yaml(text) if any(not tag.endswith(':merge') for tag in known) else text


def dump_yaml(value: Any) -> str:
    """Write a plain value as YAML that `parse_yaml` can read."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text.replace('{{', '{\\x7b')  # a recipe with double braces in its text is refused


def _check_events(text: str) -> None:
    """Refuse tags and too many levels, event by event, because building nodes recurses once per level."""
    depth = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        where = f'line {event.start_mark.line + 1}' if event.start_mark else 'the text'
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            raise InputError(f'{where}: tag {brief(event.tag)} is not read; leave it out, and quote what is a text')
        if depth > DEEPEST:
            raise InputError(f'{where}: more than {DEEPEST} levels deep')


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Count the values of a node, with aliases expanded."""
    if id(node) in above:
        raise InputError(f'line {node.start_mark.line + 1}: an alias holds itself')
    if id(node) not in known:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.CollectionNode):
            inner = [n for pair in node.value for n in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(n, known, above | {id(node)}) for n in inner)
    return known[id(node)]


def load_yaml(path: str | Path) -> dict:
    """Read the mapping in a YAML file.

    Raises:
        InputError: the file cannot be read, is not YAML, or is not a mapping with unique string keys.
    """
    path = Path(path)
    text = read_text(path, MOST_BYTES)
    try:
        loaded = parse_yaml(text)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    if not isinstance(loaded, dict):
        raise InputError(f'{path}: expected a mapping at the top level, got {type(loaded).__name__}')
    return loaded
