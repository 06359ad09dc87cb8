"""What a table file may say: every field checked, every fault one line that names table, field and nearest name."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from openmix.benchmark.claims import PAIRS, Claim, Selection
from openmix.benchmark.variant import VARIANTS
from openmix.errors import InputError, close_to, nearest

FIELDS = (
    *('title', 'source', 'metric', 'readout', 'trials', 'seeds', 'variant', 'base'),
    *('columns', 'rows', 'published', 'spread', 'other_source', 'exceptions'),
    *('gains', 'claims', 'grid', 'validation', 'notes'),
)
# Of overrides: what is said of the cell, not of its recipe.
RESERVED = ('config', 'metric', 'readout', 'implemented', 'grid')
READOUT = re.compile(r'last|best|median_last[1-9]\d*')
# The held-out split of the data sets that ship; the same share of every class, drawn by their split_seed.
VALIDATION = {
    'train_dataloader.dataset.val_fraction': 0.1,
    'val_dataloader.dataset.val_fraction': 0.1,
    'val_dataloader.dataset.split': 'val',
}
_CLAIM = ('text', 'higher', 'lower', 'pair', 'margin', 'printed', 'note')

Numbers = dict[str, dict[str, float | None]]  # row -> column -> number
Overrides = dict[str, Any]


@dataclass(frozen=True)
class Schema:
    """A table file, checked; names and order as in the file."""

    title: str
    source: str
    metric: str
    readout: str
    seeds: tuple[int, ...]
    variant: str
    base: str | None
    columns: dict[str, Overrides]
    rows: dict[str, Overrides]
    published: Numbers
    spread: Numbers
    other_source: Numbers
    exceptions: dict[str, dict[str, Overrides | None]]
    gains: dict[str, str]
    claims: tuple[Claim, ...]
    grid: dict[str, list]
    validation: Overrides
    notes: tuple[str, ...]


def read_schema(name: str, raw: dict) -> Schema:
    """Check the mapping of a table file.

    Raises:
        InputError: a field is missing, unknown or not what it must be.
    """
    where = f"table '{name}'"
    for key in raw:
        if key not in FIELDS:
            raise InputError(f"{where}: unknown field '{key}'; {nearest(key, FIELDS)}")
    for key in ('title', 'metric', 'readout', 'columns', 'rows'):
        if not raw.get(key):
            raise InputError(f"{where}: field '{key}' is missing")
    for key in ('title', 'source', 'metric', 'base'):
        if not isinstance(raw.get(key) or '', str):
            raise InputError(f"{where}: field '{key}' must be text, got {raw[key]!r}")
    variant = raw.get('variant', 'published')
    _known(f'{where}, variant', 'variant', variant, VARIANTS)
    columns, rows = _overrides(where, 'column', raw['columns']), _overrides(where, 'row', raw['rows'])
    gains = _mapping(f'{where}, gains', raw.get('gains'))
    for column in (*gains, *gains.values()):
        _known(f'{where}, gains', 'column', column, columns)
    claims = raw.get('claims') or []
    if not isinstance(claims, list):
        raise InputError(f'{where}, claims: expected a list, got {claims!r}')
    notes = raw.get('notes') or []
    notes = [notes] if isinstance(notes, str) else notes
    for note in notes:
        if not isinstance(note, str):
            raise InputError(f'{where}, notes: expected text, got {note!r}; put a note with a colon in quotes')
    return Schema(
        title=raw['title'],
        source=raw.get('source') or '',
        metric=raw['metric'],
        readout=check_readout(where, raw['readout']),
        seeds=_seeds(where, raw.get('trials'), raw.get('seeds')),
        variant=variant,
        base=raw.get('base') or None,
        columns=columns,
        rows=rows,
        published=_numbers(where, 'published', raw.get('published'), rows, columns),
        spread=_numbers(where, 'spread', raw.get('spread'), rows, columns),
        other_source=_other_source(where, raw.get('other_source'), rows, columns),
        exceptions=_exceptions(where, raw.get('exceptions'), rows, columns),
        gains=gains,
        claims=tuple(_claim(f'{where}, claims {i}', claim) for i, claim in enumerate(claims)),
        grid=_grid(f'{where}, grid', raw.get('grid')),
        validation=_mapping(f'{where}, validation', raw.get('validation') or VALIDATION),
        notes=tuple(notes),
    )


def check_readout(where: str, value: Any) -> str:
    """A readout as it stands, or an error."""
    if not READOUT.fullmatch(str(value)):
        raise InputError(f"{where}: readout '{value}' is none of last, best, median_last<N>")
    return str(value)


def _mapping(where: str, value: Any) -> dict:
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f'{where}: expected a mapping, got {value!r}')
    return dict(value or {})


def _known(where: str, kind: str, given: Any, names: Collection[str]) -> None:
    if given not in names:
        raise InputError(f"{where}: unknown {kind} '{given}'; {nearest(str(given), names)}")


def _overrides(where: str, kind: str, raw: Any) -> dict[str, Overrides]:
    found = _mapping(f'{where}, {kind}s', raw)
    return {name: check_overrides(f"{where}, {kind} '{name}'", value) for name, value in found.items()}


def check_overrides(where: str, raw: Any) -> Overrides:
    """The overrides of a row, column or cell: reserved words hold what they must, and none is mistyped."""
    overrides = _mapping(where, raw)
    for key, value in overrides.items():
        if key not in RESERVED and '.' not in key and (meant := close_to(key, RESERVED)):
            raise InputError(f"{where}: unknown word '{key}'; did you mean '{meant}'?")
        if key in ('config', 'metric') and not (isinstance(value, str) and value):
            raise InputError(f'{where}: {key} must be text, got {value!r}')
        if key == 'implemented' and not isinstance(value, bool):
            raise InputError(f'{where}: implemented must be true or false, got {value!r}')
    if 'readout' in overrides:
        check_readout(where, overrides['readout'])
    if 'grid' in overrides:
        overrides['grid'] = _grid(f'{where}, grid', overrides['grid'])
    return overrides


def _seeds(where: str, trials: Any, seeds: Any) -> tuple[int, ...]:
    if seeds is None:
        trials = 1 if trials is None else trials
        if not isinstance(trials, int) or trials < 1:
            raise InputError(f'{where}: trials must be an integer >= 1, got {trials!r}')
        return tuple(range(trials))
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise InputError(f'{where}: seeds must be a list of integers, got {seeds!r}')
    if len(set(seeds)) != len(seeds) or trials not in (None, len(seeds)):
        raise InputError(f'{where}: {trials or len(seeds)} trials need as many different seeds, got {seeds}')
    return tuple(seeds)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(where: str, field: str, value: Any) -> float | None:
    if value is not None and not _is_number(value):
        raise InputError(f'{where} has the {field} value {value!r}; a number or null is needed')
    return value


def _numbers(where: str, field: str, raw: Any, rows: Collection[str], columns: Collection[str]) -> Numbers:
    """A list a row, one number or null a column."""
    numbers: Numbers = {}
    for row, values in _mapping(f'{where}, {field}', raw).items():
        _known(f'{where}, {field}', 'row', row, rows)
        if not isinstance(values, list) or len(values) != len(columns):
            count = len(values) if isinstance(values, list) else repr(values)
            raise InputError(f"{where}: row '{row}' needs {len(columns)} {field} values, got {count}")
        checked = [_number(f"{where}: row '{row}'", field, value) for value in values]
        numbers[row] = dict(zip(columns, checked, strict=True))
    return numbers


def _other_source(where: str, raw: Any, rows: Collection[str], columns: Collection[str]) -> Numbers:
    numbers: Numbers = {}
    for row, of_row in _mapping(f'{where}, other_source', raw).items():
        _known(f'{where}, other_source', 'row', row, rows)
        place = f"{where}, other_source of row '{row}'"
        for column, value in _mapping(place, of_row).items():
            _known(place, 'column', column, columns)
            numbers.setdefault(row, {})[column] = _number(f"{where}: '{row} / {column}'", 'other_source', value)
    return numbers


def _exceptions(
    where: str, raw: Any, rows: Collection[str], columns: Collection[str]
) -> dict[str, dict[str, Overrides | None]]:
    exceptions: dict[str, dict[str, Overrides | None]] = {}
    for row, of_row in _mapping(f'{where}, exceptions', raw).items():
        _known(f'{where}, exceptions', 'row', row, rows)
        place = f"{where}, exceptions of row '{row}'"
        for column, overrides in _mapping(place, of_row).items():
            _known(place, 'column', column, columns)
            cell = f"{where}, exception '{row} / {column}'"
            exceptions.setdefault(row, {})[column] = None if overrides is None else check_overrides(cell, overrides)
    return exceptions


def _grid(where: str, raw: Any) -> dict[str, list]:
    grid = _mapping(where, raw)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: '{key}' needs a list of values, got {values!r}")
        if any(values.count(value) > 1 for value in values):
            raise InputError(f"{where}: '{key}' lists a value twice, got {values!r}")
    return grid


def _claim(where: str, raw: Any) -> Claim:
    claim = _mapping(where, raw)
    for key in claim:
        _known(where, 'field', key, _CLAIM)
    for key in ('text', 'higher', 'lower', 'pair'):
        if not claim.get(key):
            raise InputError(f"{where}: field '{key}' is missing")
    _known(where, 'pair', claim['pair'], PAIRS)
    margin, printed = claim.get('margin'), claim.get('printed', True)
    if margin is not None and not _is_number(margin):
        raise InputError(f'{where}: margin must be a number, got {margin!r}')
    if not isinstance(printed, bool):
        raise InputError(f'{where}: printed must be true or false, got {printed!r}')
    return Claim(
        text=str(claim['text']),
        higher=_selection(f'{where}, higher', claim['higher']),
        lower=_selection(f'{where}, lower', claim['lower']),
        pair=claim['pair'],
        margin=margin,
        printed=printed,
        note=str(claim.get('note') or ''),
    )


def _selection(where: str, raw: Any) -> Selection:
    given = _mapping(where, raw)
    globs: dict[str, tuple[str, ...]] = {}
    for key, value in given.items():
        _known(where, 'field', key, ('rows', 'columns'))
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) for name in names):
            raise InputError(f'{where}: {key} must be a glob or a list of globs, got {value!r}')
        globs[key] = tuple(names)
    return Selection(**globs)
