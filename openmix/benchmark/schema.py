"""Check a table file against its schema; an error is one line with the table, the field and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from openmix.benchmark.as_published import dotted_published
from openmix.benchmark.claims import PAIRS, Claim, Selection
from openmix.benchmark.earlier import FROM, check_dotted, dotted
from openmix.benchmark.fields import check_known, globs_of, list_of, mapping_of, quoted
from openmix.benchmark.figure_panels import Panel, read_panels
from openmix.benchmark.grid_schema import read_grid
from openmix.benchmark.limits import MOST_CELLS, MOST_SEED, MOST_TRIALS
from openmix.benchmark.values import check_name, check_settings, check_text
from openmix.benchmark.variant import VARIANTS
from openmix.errors import InputError, brief, check_number, close_to, nearest
from openmix.recipe_published import PUBLISHED

FIELDS = (
    *('title', 'source', 'metric', 'readout', 'trials', 'seeds', 'variant', 'base'),
    *('columns', 'rows', 'published', 'spread', 'other_source', 'exceptions'),
    *('gains', 'claims', 'figure', 'grid', 'validation', 'notes'),
)
# A word of cells, and the field of the table that means the same.
_MEANT = {'config': 'base'}
# Words in overrides that are about the cell and are no settings of its recipe.
RESERVED = ('config', 'metric', 'readout', 'implemented', 'grid')
READOUT = re.compile(r'last|best|median_last[1-9]\d*')
# The default held-out split: the same fraction of every class, drawn by the data set's split_seed.
VALIDATION = {
    'train_dataloader.dataset.val_fraction': 0.1,
    'val_dataloader.dataset.val_fraction': 0.1,
    'val_dataloader.dataset.split': 'val',
}
_MOST_NUMBER = 1e12  # largest published number
_CLAIM = ('text', 'higher', 'lower', 'pair', 'margin', 'printed', 'note')

Numbers = dict[str, dict[str, float | None]]  # row -> column -> number
Overrides = dict[str, Any]


@dataclass(frozen=True)
class Schema:
    """The checked content of a table file; names and order are those of the file."""

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
    figure: tuple[Panel, ...]
    grid: Overrides
    validation: Overrides
    notes: tuple[str, ...]


def read_schema(name: str, raw: dict) -> Schema:
    """Check the mapping in a table file.

    Raises:
        InputError: a field is missing, unknown or has a wrong value.
    """
    where = f"table '{name}'"
    for key in raw:
        if key not in FIELDS:
            meant = _MEANT.get(str(key))
            hint = f"did you mean '{meant}'?" if meant else nearest(str(key), FIELDS)
            raise InputError(f'{where}: unknown field {quoted(key)}; {hint}')
    for key in ('title', 'metric', 'readout', 'columns', 'rows'):
        if raw.get(key) in (None, '', [], {}):
            raise InputError(f"{where}: field '{key}' is missing")
    texts = {key: _text(where, key, raw.get(key)) for key in ('title', 'source', 'metric', 'base')}
    columns, rows = _overrides(where, 'column', raw['columns']), _overrides(where, 'row', raw['rows'])
    if len(columns) * len(rows) > MOST_CELLS:
        raise InputError(f'{where}: {len(rows)} rows x {len(columns)} columns are more than {MOST_CELLS} cells')
    gains = mapping_of(f'{where}, gains', raw.get('gains'))
    for column in (*gains, *gains.values()):
        check_known(f'{where}, gains', 'column', column, columns)
    published = _numbers(where, 'published', raw.get('published'), rows, columns)
    other_source = _other_source(where, raw.get('other_source'), rows, columns)
    variant = raw.get('variant')
    if variant is None:
        variant = default_variant(texts['source'], published, other_source)
    check_known(f'{where}, variant', 'variant', variant, VARIANTS)
    claims = list_of(f'{where}, claims', raw.get('claims'))
    return Schema(
        title=texts['title'],
        source=texts['source'],
        metric=texts['metric'],
        readout=check_readout(where, raw['readout']),
        seeds=_seeds(where, raw.get('trials'), raw.get('seeds')),
        variant=variant,
        base=texts['base'] or None,
        columns=columns,
        rows=rows,
        published=published,
        spread=_numbers(where, 'spread', raw.get('spread'), rows, columns),
        other_source=other_source,
        exceptions=_exceptions(where, raw.get('exceptions'), rows, columns),
        gains=gains,
        claims=tuple(_claim(f'{where}, claims {i}', claim) for i, claim in enumerate(claims)),
        figure=read_panels(f'{where}, figure', raw.get('figure'), list(rows), list(columns)),
        grid=read_grid(f'{where}, grid', raw.get('grid')),
        validation=_validation(f'{where}, validation', raw.get('validation') or VALIDATION),
        notes=_notes(f'{where}, notes', raw.get('notes')),
    )


def check_readout(where: str, value: Any) -> str:
    """Check and return a readout.

    Raises:
        InputError: it is not a readout.
    """
    if not isinstance(value, str) or not READOUT.fullmatch(value):
        raise InputError(f'{where}: readout {brief(value)} is none of last, best, median_last<N>')
    return value


def default_variant(source: str, *numbers: Numbers) -> str:
    """Return the default variant of a table: 'published' if it has numbers from a source, else 'corrected'."""
    printed = any(number is not None for of in numbers for row in of.values() for number in row.values())
    return 'published' if printed and source and not re.match(r'none\b', source, re.IGNORECASE) else 'corrected'


def _text(where: str, key: str, value: Any) -> str:
    return '' if value is None else check_text(f"{where}: field '{key}'", value)


def _notes(where: str, value: Any) -> tuple[str, ...]:
    notes = [value] if isinstance(value, str) else list_of(where, value)
    for note in notes:
        if not isinstance(note, str):
            raise InputError(f'{where}: expected text, got {brief(note)}; put a note with a colon in quotes')
    return tuple(check_text(where, note) for note in notes)


def _data(where: str, value: Any) -> Overrides:
    """Check a mapping of dotted keys to plain data."""
    found = mapping_of(where, value)
    check_settings(where, found)
    return found


def _validation(where: str, value: Any) -> Overrides:
    """Check the overrides of a search, which may also change earlier stages."""
    found = _data(where, value)
    check_dotted(where, found, ())
    return found


def _overrides(where: str, kind: str, raw: Any) -> dict[str, Overrides]:
    found = mapping_of(f'{where}, {kind}s', raw)
    names = [check_name(f'{where}, {kind} {brief(name)}: its name', name) for name in found]
    return {name: check_overrides(f'{where}, {kind} {quoted(name)}', found[name]) for name in names}


def check_overrides(where: str, raw: Any) -> Overrides:
    """Check the overrides of a row, column or cell, including values and spelling of reserved words."""
    overrides = mapping_of(where, raw)
    _data(where, {key: value for key, value in overrides.items() if key != 'grid'})
    overrides = dotted_published(where, dotted(where, overrides))
    check_dotted(where, overrides)
    for key, value in overrides.items():
        words = (*RESERVED, FROM, PUBLISHED)
        if key not in words and '.' not in key and (meant := close_to(key, words)):
            raise InputError(f"{where}: unknown word '{key}'; did you mean '{meant}'?")
        if key in ('config', 'metric') and not (isinstance(value, str) and value):
            raise InputError(f'{where}: {key} must be text, got {brief(value)}')
        if key == 'implemented' and not isinstance(value, bool):
            raise InputError(f'{where}: implemented must be true or false, got {brief(value)}')
    if 'readout' in overrides:
        check_readout(where, overrides['readout'])
    if 'grid' in overrides:
        overrides['grid'] = read_grid(f'{where}, grid', overrides['grid'])
    return overrides


def _seeds(where: str, trials: Any, seeds: Any) -> tuple[int, ...]:
    if seeds is None:
        trials = 1 if trials is None else trials
        check_number(f'{where}: trials', trials, 1, MOST_TRIALS)
        return tuple(range(trials))
    if not isinstance(seeds, list) or not seeds or len(seeds) > MOST_TRIALS:
        raise InputError(f'{where}: seeds must be a list of at most {MOST_TRIALS} integers, got {brief(seeds)}')
    for seed in seeds:
        check_number(f'{where}: a seed', seed, 0, MOST_SEED)
    if len(set(seeds)) != len(seeds) or trials not in (None, len(seeds)):
        raise InputError(f'{where}: {trials or len(seeds)} trials need as many different seeds, got {brief(seeds)}')
    return tuple(seeds)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST_NUMBER


def _number(where: str, field: str, value: Any) -> float | None:
    if value is not None and not _is_number(value):
        raise InputError(f'{where} has the {field} value {brief(value)}; a number or null is needed')
    return value


def _numbers(where: str, field: str, raw: Any, rows: Collection[str], columns: Collection[str]) -> Numbers:
    """Check a field with one list per row, and one number or null per column."""
    numbers: Numbers = {}
    for row, values in mapping_of(f'{where}, {field}', raw).items():
        check_known(f'{where}, {field}', 'row', row, rows)
        if not isinstance(values, list) or len(values) != len(columns):
            count = len(values) if isinstance(values, list) else brief(values)
            raise InputError(f"{where}: row '{row}' needs {len(columns)} {field} values, got {count}")
        checked = [_number(f"{where}: row '{row}'", field, value) for value in values]
        numbers[row] = dict(zip(columns, checked, strict=True))
    return numbers


def _other_source(where: str, raw: Any, rows: Collection[str], columns: Collection[str]) -> Numbers:
    numbers: Numbers = {}
    for row, of_row in mapping_of(f'{where}, other_source', raw).items():
        check_known(f'{where}, other_source', 'row', row, rows)
        place = f"{where}, other_source of row '{row}'"
        for column, value in mapping_of(place, of_row).items():
            check_known(place, 'column', column, columns)
            numbers.setdefault(row, {})[column] = _number(f"{where}: '{row} / {column}'", 'other_source', value)
    return numbers


def _exceptions(
    where: str, raw: Any, rows: Collection[str], columns: Collection[str]
) -> dict[str, dict[str, Overrides | None]]:
    exceptions: dict[str, dict[str, Overrides | None]] = {}
    for row, of_row in mapping_of(f'{where}, exceptions', raw).items():
        check_known(f'{where}, exceptions', 'row', row, rows)
        place = f"{where}, exceptions of row '{row}'"
        for column, overrides in mapping_of(place, of_row).items():
            check_known(place, 'column', column, columns)
            cell = f"{where}, exception '{row} / {column}'"
            exceptions.setdefault(row, {})[column] = None if overrides is None else check_overrides(cell, overrides)
    return exceptions


def _claim(where: str, raw: Any) -> Claim:
    claim = mapping_of(where, raw)
    for key in claim:
        check_known(where, 'field', key, _CLAIM)
    for key in ('text', 'higher', 'lower', 'pair'):
        if claim.get(key) in (None, '', [], {}):
            raise InputError(f"{where}: field '{key}' is missing")
    check_known(where, 'pair', claim['pair'], PAIRS)
    margin, printed = claim.get('margin'), claim.get('printed', True)
    if margin is not None and not _is_number(margin):
        raise InputError(f'{where}: margin must be a number, got {brief(margin)}')
    if not isinstance(printed, bool):
        raise InputError(f'{where}: printed must be true or false, got {brief(printed)}')
    return Claim(
        text=check_text(f'{where}: text', claim['text']),
        higher=_selection(f'{where}, higher', claim['higher']),
        lower=_selection(f'{where}, lower', claim['lower']),
        pair=claim['pair'],
        margin=margin,
        printed=printed,
        note=_text(where, 'note', claim.get('note')),
    )


def _selection(where: str, raw: Any) -> Selection:
    given = mapping_of(where, raw)
    for key in given:
        check_known(where, 'field', key, ('rows', 'columns'))
    return Selection(**{key: globs_of(f'{where}: {key}', value) for key, value in given.items()})
