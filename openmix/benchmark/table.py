"""`Table` and `Cell`: a published table as data, and what one of its cells stands for."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.config import apply_overrides, config_hash, configs_dir, load_config, load_yaml
from openmix.errors import InputError, nearest

_FIELDS = (
    *('title', 'source', 'metric', 'readout', 'trials', 'seeds', 'variant', 'base'),
    *('columns', 'rows', 'published', 'exceptions', 'gains', 'notes'),
)
_READOUT = re.compile(r'last|best|median_last[1-9]\d*')
_VARIANTS = ('published', 'corrected')


@dataclass(frozen=True)
class Cell:
    """One experiment of a table: a recipe with overrides, and the number that was printed for it.

    Attributes:
        table: name of the table.
        row, column: names as printed.
        config: the recipe, by its name below `configs/` or by path.
        overrides: dotted keys on top of the recipe.
        published: the printed number; None where there is none.
        folder: `<row-slug>/<column-slug>`, its place in the table's work folder.
    """

    table: str
    row: str
    column: str
    config: str
    overrides: dict[str, Any] = field(hash=False)
    published: float | None
    folder: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f'{self.row} / {self.column}'

    def resolve(self) -> Config:
        """The recipe with this cell's overrides.

        Raises:
            InputError: there is no such recipe, or an override does not fit it.
        """
        try:
            return apply_overrides(_recipe(self.config), self.overrides)
        except InputError as error:
            raise InputError(f"table '{self.table}', cell '{self.name}': {error}") from error

    def config_text(self) -> str:
        """The resolved recipe as a file that `tools/train.py` runs; the docstring says what it is."""
        cfg = self.resolve()
        lines = [f'Table: {self.table}', f'Row: {self.row}', f'Column: {self.column}', f'Recipe: {self.config}']
        text = '\n'.join([*lines, f'Hash: {config_hash(cfg)}']).replace('\\', '\\\\').replace('"', '\\"')
        return f'"""One cell of a table, resolved.\n\n{text}\n"""\n\n{cfg.pretty_text}'


@functools.lru_cache(maxsize=64)
def _recipe(name: str) -> Config:
    """A loaded recipe; cells share it and `apply_overrides` copies."""
    return load_config(name)


@dataclass(frozen=True)
class Table:
    """A published table or figure: rows x columns of cells.

    Attributes:
        name: its name below `configs/tables`, or the stem of a file elsewhere.
        metric: the key of the metric in a run's results, such as 'accuracy/top1'.
        readout: how epochs become one number: 'last', 'best' or 'median_last<N>'.
        seeds: one seed a trial.
        variant: 'published' (as the printed runs were done) or 'corrected'.
        rows, columns: names in printed order.
        cells: those that exist, row by row.
        gains: column -> the column that its gain is taken over.
    """

    name: str
    title: str
    source: str
    metric: str
    readout: str
    seeds: tuple[int, ...]
    variant: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    gains: dict[str, str] = field(hash=False)
    notes: tuple[str, ...] = ()

    @property
    def trials(self) -> int:
        """How many times the table asks to run a cell."""
        return len(self.seeds)

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric counts errors."""
        return self.metric.rpartition('/')[2].endswith(('loss', 'nll', 'error'))

    def seed(self, trial: int) -> int:
        """The seed of a trial; trials beyond those of the table count on from its largest seed."""
        return self.seeds[trial] if trial < self.trials else max(self.seeds) + 1 + trial - self.trials

    def cell(self, row: str, column: str) -> Cell:
        """One cell by name or slug.

        Raises:
            InputError: there is no such row, column or cell.
        """
        row, column = _name_of('row', row, self.rows, self.name), _name_of('column', column, self.columns, self.name)
        for cell in self.cells:
            if (cell.row, cell.column) == (row, column):
                return cell
        raise InputError(f"table '{self.name}' has no cell '{row} / {column}'; it declares it absent")

    def select(self, rows: str | None = None, columns: str | None = None) -> list[Cell]:
        """The cells whose row and column match the globs (case-insensitive; None: all).

        Raises:
            InputError: a glob matches nothing, or only absent cells.
        """
        kept_rows = _matching('row', rows, self.rows, self.name)
        kept_columns = _matching('column', columns, self.columns, self.name)
        cells = [cell for cell in self.cells if cell.row in kept_rows and cell.column in kept_columns]
        if not cells:
            raise InputError(f"table '{self.name}': rows '{rows}' and columns '{columns}' meet only in absent cells")
        return cells


def _name_of(kind: str, given: str, names: Sequence[str], table: str) -> str:
    by_slug = {slug: name for name, slug in slugs(names).items()}
    if given not in names and given not in by_slug:
        raise InputError(f"table '{table}' has no {kind} '{given}'; {nearest(given, names)}")
    return given if given in names else by_slug[given]


def _matching(kind: str, glob: str | None, names: Sequence[str], table: str) -> list[str]:
    if glob is None or glob in names:
        return list(names) if glob is None else [glob]
    kept = [name for name in names if fnmatchcase(name.lower(), glob.lower())]
    if not kept:
        raise InputError(f"table '{table}': no {kind} matches '{glob}'; {nearest(glob, names)}")
    return kept


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Name -> a distinct folder name of a-z, 0-9 and dashes; names that would collide get a digest."""
    names = list(names)
    plain = {name: re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') for name in names}
    taken = list(plain.values())

    def distinct(name: str) -> str:
        if plain[name] and taken.count(plain[name]) == 1:
            return plain[name]
        return f'{plain[name]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}'.strip('-')

    return {name: distinct(name) for name in names}


def table_names() -> list[str]:
    """Every table that ships, by its name below `configs/tables`."""
    root = configs_dir() / 'tables'
    return sorted(str(path.relative_to(root).with_suffix('')) for path in root.rglob('*.yaml'))


def load_table(name: str | Path) -> Table:
    """A table by path, or by its name below `configs/tables`.

    Raises:
        InputError: there is no such table, or the file does not describe one.
    """
    root, given = configs_dir() / 'tables', Path(name)
    if given.suffix in ('.yaml', '.yml') and given.is_file():
        inside = given.resolve().is_relative_to(root.resolve())
        label = str(given.resolve().relative_to(root.resolve()).with_suffix('')) if inside else given.stem
        return _parse(label, load_yaml(given))
    label = str(name).removesuffix('.yaml')
    if label not in table_names():
        raise InputError(f"no table '{name}'; {nearest(label, table_names())}")
    return _parse(label, load_yaml(root / f'{label}.yaml'))


def _parse(name: str, raw: dict) -> Table:
    where = f"table '{name}'"
    for key in raw:
        if key not in _FIELDS:
            raise InputError(f"{where}: unknown field '{key}'; {nearest(key, _FIELDS)}")
    for key in ('title', 'metric', 'readout', 'columns', 'rows'):
        if not raw.get(key):
            raise InputError(f"{where}: field '{key}' is missing")
    if not _READOUT.fullmatch(str(raw['readout'])):
        raise InputError(f"{where}: readout '{raw['readout']}' is none of last, best, median_last<N>")
    variant = raw.get('variant', 'published')
    if variant not in _VARIANTS:
        raise InputError(f"{where}: unknown variant '{variant}'; {nearest(str(variant), _VARIANTS)}")
    columns = {
        key: _mapping(f"{where}, column '{key}'", value) for key, value in _mapping(where, raw['columns']).items()
    }
    rows = {key: _mapping(f"{where}, row '{key}'", value) for key, value in _mapping(where, raw['rows']).items()}
    gains = _mapping(f'{where}, gains', raw.get('gains'))
    for column in (*gains, *gains.values()):
        _known('column', column, columns, f'{where}, gains')
    notes = raw.get('notes') or []
    return Table(
        name=name,
        title=str(raw['title']),
        source=str(raw.get('source') or ''),
        metric=str(raw['metric']),
        readout=str(raw['readout']),
        seeds=_seeds(where, raw.get('trials'), raw.get('seeds')),
        variant=variant,
        rows=tuple(rows),
        columns=tuple(columns),
        cells=tuple(_expand(name, raw, rows, columns)),
        gains=gains,
        notes=tuple(str(note) for note in ([notes] if isinstance(notes, str) else notes)),
    )


def _expand(name: str, raw: dict, rows: dict[str, dict], columns: dict[str, dict]) -> list[Cell]:
    """The cells that exist, row by row."""
    where = f"table '{name}'"
    published = _published(where, raw.get('published'), rows, columns)
    exceptions = _exceptions(where, raw.get('exceptions'), rows, columns)
    row_slug, column_slug, cells = slugs(rows), slugs(columns), []
    for row, column in ((row, column) for row in rows for column in columns):
        number = published.get(row, {}).get(column)
        exception = exceptions.get(row, {}).get(column, {})
        if exception is None:
            if number is not None:
                raise InputError(f"{where}: cell '{row} / {column}' is declared absent but has the number {number}")
            continue
        overrides = _layered({'config': raw.get('base')} | columns[column] | rows[row], exception)
        config = overrides.pop('config')
        if not config:
            raise InputError(f"{where}: cell '{row} / {column}' has no recipe; set 'base' or the column's 'config'")
        folder = f'{row_slug[row]}/{column_slug[column]}'
        cells.append(Cell(name, row, column, str(config), overrides, number, folder))
    return cells


def _layered(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`; where it replaces a whole dict, what `under` said below that key goes."""
    replaced = tuple(f'{key}.' for key, value in over.items() if isinstance(value, Mapping) and value.get('_delete_'))
    return {key: value for key, value in under.items() if not key.startswith(replaced)} | over


def _mapping(where: str, value: Any) -> dict:
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f'{where}: expected a mapping, got {value!r}')
    return dict(value or {})


def _known(kind: str, given: Any, names: Iterable[str], where: str) -> None:
    if given not in names:
        raise InputError(f"{where}: unknown {kind} '{given}'; {nearest(str(given), names)}")


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


def _published(where: str, raw: Any, rows: dict, columns: dict) -> dict[str, dict[str, float | None]]:
    numbers = {}
    for row, values in _mapping(f'{where}, published', raw).items():
        _known('row', row, rows, f'{where}, published')
        if not isinstance(values, list) or len(values) != len(columns):
            count = len(values) if isinstance(values, list) else repr(values)
            raise InputError(f"{where}: row '{row}' needs {len(columns)} published values, got {count}")
        for value in values:
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise InputError(f"{where}: row '{row}' has the published value {value!r}; a number or null is needed")
        numbers[row] = dict(zip(columns, values, strict=True))
    return numbers


def _exceptions(where: str, raw: Any, rows: dict, columns: dict) -> dict[str, dict[str, dict | None]]:
    exceptions = {}
    for row, of_row in _mapping(f'{where}, exceptions', raw).items():
        _known('row', row, rows, f'{where}, exceptions')
        exceptions[row] = _mapping(f"{where}, exceptions of row '{row}'", of_row)
        for column, overrides in exceptions[row].items():
            _known('column', column, columns, f"{where}, exceptions of row '{row}'")
            if overrides is not None:
                _mapping(f"{where}, exception '{row} / {column}'", overrides)
    return exceptions
