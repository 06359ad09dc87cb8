"""`from` in a row, column or cell: the earlier stage, as dotted keys with the prefix `from.`, at every depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from openmix.benchmark.limits import MOST_SEED
from openmix.benchmark.values import check_settings
from openmix.errors import InputError, brief, check_number, close_to
from openmix.options import OptionText, read_plain

FROM = 'from'
PREFIX = 'from.'
# Words about an earlier stage that are no settings of its recipe; a cell of a table is named by all three.
_CELL = ('table', 'row', 'column')
WORDS = ('config', *_CELL, 'seed')
# Words that only the last stage may have, because the number of a cell is read from it.
_OF_THE_LAST = ('metric', 'readout', 'grid', 'implemented')
_WHOLE = {'_delete_': True}

Overrides = dict[str, Any]


def dotted(where: str, overrides: Mapping[str, Any]) -> Overrides:
    """Flatten the mapping `from` in overrides to dotted keys; null and `_delete_: true` stay as the key `from`.

    Raises:
        InputError: `from` is not a mapping, or a key is given twice.
    """
    found = {key: value for key, value in overrides.items() if key != FROM}
    if FROM in overrides:
        stage = overrides[FROM]
        if not isinstance(stage, Mapping | None):
            raise InputError(
                f'{where}: from must be a mapping, such as {{config: RECIPE}}, or null, got {brief(stage)}'
            )
        inner = dotted(f'{where}, from', stage or {})
        if inner.pop('_delete_', stage is None):
            found[FROM] = dict(_WHOLE)
        for key, value in inner.items():
            if f'{PREFIX}{key}' in found:
                raise InputError(f"{where}: '{PREFIX}{key}' is given twice")
            found[f'{PREFIX}{key}'] = value
    return found


def check_dotted(where: str, overrides: Mapping[str, Any], words: tuple[str, ...] = WORDS) -> None:
    """Raise an `InputError` if a key below `from.` is not valid for an earlier stage, or two keys name its source."""
    stage = below(overrides)
    if not stage:
        return
    where = f'{where}, from'
    settings = {}
    for key, value in stage.items():
        if key.startswith(PREFIX) or key == FROM:
            continue
        if key in _OF_THE_LAST:
            raise InputError(f'{where}: an earlier stage has no {key}; say it of the cell')
        if key in WORDS and key not in words:
            raise InputError(f'{where}: {key} is said in the table')
        if key == 'seed':
            check_number(f'{where}: seed', value, 0, MOST_SEED)
        elif key in WORDS:
            if not (isinstance(value, str) and value):
                raise InputError(f'{where}: {key} must be text, got {brief(value)}')
        elif '.' not in key and (meant := close_to(key, WORDS)):
            raise InputError(f"{where}: unknown word '{key}'; did you mean '{meant}'?")
        else:
            settings[key] = value
    check_settings(where, settings)
    if 'config' in stage and (of_table := [word for word in _CELL if word in stage]):
        raise InputError(f'{where}: config and {of_table[0]} both name the stage; leave out one')
    check_dotted(where, stage, words)


def settled(where: str, options: Mapping[str, Any]) -> Overrides:
    """Return the options of a command with the seeds of earlier stages as numbers.

    Args:
        where: start of the error line.
        options: dotted keys of `--cfg-options`; values may be `OptionText`.

    Raises:
        InputError: an option sets a whole earlier stage, or its value cannot be read.
    """
    found = dict(options)
    for key, value in options.items():
        word = key
        while word.startswith(PREFIX):
            word = word.removeprefix(PREFIX)
        if word == FROM:
            raise InputError(
                f'{where}: {key}={brief(value)} sets nothing: set keys of the earlier stage, {key}.KEY=VALUE; '
                'a row that starts from nothing says `from: null` in the table'
            )
        if word == 'seed' and key != word and isinstance(value, OptionText):
            try:
                found[key] = read_plain(value)
            except InputError as error:
                raise InputError(f"{where}: '{key}' {error}") from error
    return found


def reaching(options: Mapping[str, Any], overrides: Mapping[str, Any]) -> Overrides:
    """Return the options without those of earlier stages that a cell with these overrides does not have."""
    found = beside(options)
    if below(overrides):
        found |= {f'{PREFIX}{key}': value for key, value in reaching(below(options), below(overrides)).items()}
    return found


def below(overrides: Mapping[str, Any]) -> Overrides:
    """Return the overrides of the stage before: the keys with the prefix `from.`, without the prefix."""
    return {key.removeprefix(PREFIX): value for key, value in overrides.items() if key.startswith(PREFIX)}


def beside(overrides: Mapping[str, Any]) -> Overrides:
    """Return the overrides of the stage itself, without those of earlier stages."""
    return {key: value for key, value in overrides.items() if key != FROM and not key.startswith(PREFIX)}


def cleared(under: Mapping[str, Any], over: Mapping[str, Any]) -> Overrides:
    """Return `under` without the keys of earlier stages that `over` replaces: a whole stage, or its recipe or cell."""
    found = dict(under)
    for key in over:
        if not key.startswith(FROM):
            continue
        stage, _, word = key.rpartition('.')
        if re.fullmatch(rf'({re.escape(PREFIX)})*{FROM}', key):
            gone = [each for each in found if each.startswith(f'{key}.')]
        elif re.fullmatch(rf'({re.escape(PREFIX)})*{FROM}', stage) and word in ('config', *_CELL):
            others = _CELL if word == 'config' else ('config',)
            gone = [f'{stage}.{other}' for other in others]
        else:
            continue
        found = {each: value for each, value in found.items() if each not in gone}
    return found


def unmarked(overrides: Mapping[str, Any]) -> Overrides:
    """Return overrides without the keys `from` that mark a replaced stage."""
    return {key: value for key, value in overrides.items() if key.rpartition('.')[2] != FROM}


def resolved(
    where: str,
    overrides: Mapping[str, Any],
    cell_of: Callable[[str, str, str, str], Overrides],
    layered: Callable[[Mapping[str, Any], Mapping[str, Any]], Overrides],
    trail: tuple[tuple[str, str, str], ...],
) -> Overrides:
    """Resolve every cell that a `from` names to its recipe and overrides, at every depth.

    Args:
        where: start of the error line.
        overrides: the dotted overrides of a cell or stage.
        cell_of: function of (where, table, row, column) that returns a cell's overrides, with its `config`.
        layered: function that merges overrides on top of others.
        trail: the cells that led here.

    Raises:
        InputError: a stage has no recipe, a cell is unknown or starts from itself.
    """
    stage = below(overrides)
    if not stage:
        return dict(overrides)
    where = f'{where}, from'
    named = [word for word in _CELL if word in stage]
    if named:
        if lacking := [word for word in _CELL if word not in stage]:
            raise InputError(f"{where}: a cell is named by table, row and column; '{lacking[0]}' is missing")
        place = (stage['table'], stage['row'], stage['column'])
        if place in trail:
            raise InputError(f"{where}: '{place[1]} / {place[2]}' of table '{place[0]}' would start from itself")
        trail = (*trail, place)
        said = cell_of(where, *place)
        stage = layered(cleared(said, stage), stage)
    elif 'config' not in stage:
        key = next(iter(stage))
        raise InputError(
            f"{where}: '{PREFIX}{key}' is said of a stage that is not there; name its config, or table, row and column"
        )
    stage = resolved(where, unmarked(stage), cell_of, layered, trail)
    return beside(overrides) | {f'{PREFIX}{key}': value for key, value in stage.items()}
