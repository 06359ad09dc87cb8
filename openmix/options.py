"""`--cfg-options KEY=VALUE ...`: a value stays text until the parameter that takes it determines its type."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from openmix.errors import InputError, brief
from openmix.yaml_file import OptionLoader, parse_scalar, parse_yaml

_PAIRS = {'(': ')', '[': ']', '{': '}'}


class OptionText(str):
    """The text of a value on the command line; its meaning depends on the parameter that takes it."""


def sets(options: Mapping[str, Any], place: str) -> bool:
    """Return true if options set a dotted key, by the key itself or within a mapping."""
    for key, value in options.items():
        if key == place:
            return True
        if place.startswith(f'{key}.'):
            inner = read_plain(value) if isinstance(value, OptionText) else value
            if isinstance(inner, Mapping) and sets(inner, place.removeprefix(f'{key}.')):
                return True
    return False


def check_said_once(options: Mapping[str, Any], said: Mapping[str, str]) -> None:
    """Check that no option sets a key that another argument of the command sets too.

    Args:
        options: the options of `--cfg-options`.
        said: dotted key -> the argument that was given for it.

    Raises:
        InputError: a key is set twice.
    """
    for place, argument in said.items():
        if sets(options, place):
            raise InputError(f'{argument} and --cfg-options {place} say the same thing twice; leave one of them out')


def read_plain(text: str) -> Any:
    """Read a text without a declared type: numbers as in YAML, True, None, [lists], {mappings}; else a string.

    A quoted value is a string. Round brackets are read as square ones, and the outermost make a tuple.

    Raises:
        InputError: quotes or brackets do not close, or the text is empty.
    """
    stripped = text.strip()
    if not stripped:
        raise InputError("gives no value; write None, or '' for an empty text")
    if stripped == 'None':
        return None
    try:
        if stripped[0] in _PAIRS:
            value = parse_yaml(_square(stripped), OptionLoader)
            return tuple(value) if stripped[0] == '(' and isinstance(value, list) else value
        return parse_yaml(stripped) if stripped[0] in '\'"' else parse_scalar(stripped)
    except InputError as error:
        raise InputError(_told(stripped, error)) from error


def _told(text: str, error: InputError) -> str:
    """Shorten YAML's error about one value: without its line number, and a syntax error as an open bracket or quote."""
    line = str(error).removeprefix('line 1: ')
    return f'{brief(text)}: brackets or quotes in it do not close' if line.startswith('not YAML') else line


def read_list(text: str) -> list:
    """Read the comma-separated values of a text without outer brackets.

    Raises:
        InputError: brackets or quotes in it do not close.
    """
    try:
        return parse_yaml(_square(f'[{text}]'), OptionLoader)
    except InputError as error:
        raise InputError(_told(text, error)) from error


def _square(text: str) -> str:
    """Replace round brackets around values by square ones; brackets within a word or in quotes stay."""
    out: list[str] = []
    closing: list[str] = []
    quote, before = '', ''
    for char in text:
        if quote:
            quote = '' if char == quote else quote
        elif char in '\'"' and before in ('', *'([{,:'):
            quote = char
        elif char in _PAIRS and before in ('', *'([{,:'):
            closing.append(_PAIRS[char])
            char = '[' if char == '(' else char
        elif closing and char == closing[-1]:
            closing.pop()
            char = ']' if char == ')' else char
        out.append(char)
        before = before if char.isspace() else char
    return ''.join(out)


class DictAction(argparse.Action):
    """Collect KEY=VALUE into a dict of dotted keys; a value in braces is parsed at once, any other is kept as text.

    Raises:
        InputError: an option is not KEY=VALUE, a key is given twice, or braces do not close.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = dict(getattr(namespace, self.dest) or {})
        for word in [values] if isinstance(values, str) else values:
            key, equals, text = word.partition('=')
            if not equals or not key.strip():
                raise InputError(f'{option_string} takes KEY=VALUE, as in train_cfg.max_epochs=5, got {brief(word)}')
            key = key.strip()
            if key in given:
                raise InputError(f"{option_string} is given '{key}' twice; give it once")
            given[key] = read_option(key, text)
        setattr(namespace, self.dest, given)


def read_option(key: str, text: str) -> Any:
    """Read the value of an option: a mapping in braces is parsed, any other value is kept as `OptionText`.

    Raises:
        InputError: it starts with a brace and is not a mapping.
    """
    if not text.lstrip().startswith('{'):
        return OptionText(text)
    try:
        return read_plain(text)
    except InputError as error:
        raise InputError(f"option '{key}': {error}") from error


def words_of(values: Sequence[str]) -> dict[str, Any]:
    """Collect words KEY=VALUE into a dict of options, as `DictAction` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *values]).cfg_options
