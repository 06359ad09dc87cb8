"""`--cfg-options KEY=VALUE ...`: what is typed, kept as text until the place it goes to says its type."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from openmix.errors import InputError, brief
from openmix.yaml_file import OptionLoader, parse_scalar, parse_yaml

_PAIRS = {'(': ')', '[': ']', '{': '}'}


class OptionText(str):
    """A value as it was typed; what it means depends on the parameter that takes it."""


def sets(options: Mapping[str, Any], place: str) -> bool:
    """Tell whether options set what stands at a dotted place, by its own key or within a mapping."""
    for key, value in options.items():
        if key == place:
            return True
        if place.startswith(f'{key}.'):
            inner = read_plain(value) if isinstance(value, OptionText) else value
            if isinstance(inner, Mapping) and sets(inner, place.removeprefix(f'{key}.')):
                return True
    return False


def check_said_once(options: Mapping[str, Any], said: Mapping[str, str]) -> None:
    """Refuse an option that an argument of the command says too.

    Args:
        options: of `--cfg-options`.
        said: dotted place to the argument that was given for it.

    Raises:
        InputError: there is one.
    """
    for place, argument in said.items():
        if sets(options, place):
            raise InputError(f'{argument} and --cfg-options {place} say the same thing twice; leave one of them out')


def read_plain(text: str) -> Any:
    """Read a text where no type is declared: YAML's numbers, True, None, [lists], {mappings}; else a text.

    Quotes make a text of anything. Round brackets are read as square ones.

    Raises:
        InputError: quotes or brackets do not close, or nothing stands there.
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
    """An error of YAML about one value: where it stands is known, and what is wrong is mostly what is open."""
    line = str(error).removeprefix('line 1: ')
    return f'{brief(text)}: brackets or quotes in it do not close' if line.startswith('not YAML') else line


def read_list(text: str) -> list:
    """The values between the commas of a text without brackets.

    Raises:
        InputError: brackets or quotes among them do not close.
    """
    try:
        return parse_yaml(_square(f'[{text}]'), OptionLoader)
    except InputError as error:
        raise InputError(_told(text, error)) from error


def _square(text: str) -> str:
    """Round brackets that hold values made square; those inside of a word or of quotes are left."""
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
    """Collects KEY=VALUE into a dict of dotted keys; a value in braces is read at once, any other kept as text.

    Raises:
        InputError: an option is no KEY=VALUE, a key is given twice, or braces do not close.
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
    """A typed value: a mapping, or the text of one that is not.

    Raises:
        InputError: it starts with a brace and is no mapping.
    """
    if not text.lstrip().startswith('{'):
        return OptionText(text)
    try:
        return read_plain(text)
    except InputError as error:
        raise InputError(f"option '{key}': {error}") from error


def words_of(values: Sequence[str]) -> dict[str, Any]:
    """The options of words KEY=VALUE, as `DictAction` collects them."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *values]).cfg_options
