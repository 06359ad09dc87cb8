"""`Table`: a published table as data."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from openmix.benchmark.cell import Cell
from openmix.benchmark.claims import Claim, pairs_of
from openmix.benchmark.earlier import check_dotted, reaching, settled
from openmix.benchmark.expand import expand, loss_gains, share_folders
from openmix.benchmark.figure_panels import Panel
from openmix.benchmark.folders import plain_slug, slug
from openmix.benchmark.made_for import STEPS
from openmix.benchmark.schema import read_schema
from openmix.benchmark.shorten import LENGTHS
from openmix.benchmark.values import check_name, check_settings
from openmix.benchmark.variant import VARIANTS
from openmix.errors import InputError, brief, check_number, nearest
from openmix.metrics import lower_is_better
from openmix.options import sets
from openmix.regular_file import open_regular
from openmix.shipped import configs_dir
from openmix.yaml_file import load_yaml


@dataclass(frozen=True)
class Table:
    """A published table or figure: rows x columns of cells.

    Attributes:
        name: name below `configs/tables`, or the stem of a file elsewhere.
        metric, readout: the defaults; each cell has its own.
        seeds: one seed per trial.
        variant: 'published' (as in the published runs) or 'corrected'.
        declared_variant: the variant in the file.
        rows, columns: names in published order.
        cells: the cells that exist, row by row.
        gains: column -> the column that is subtracted for its gain.
        claims: claims of the paper about the numbers.
        figure: panels of the figure of its numbers.
        validation: dotted overrides that switch a recipe to the held-out split.
        options: dotted keys of `--cfg-options` on top of every cell.
        steps: number of iterations that the chosen cells are shortened to; None: not shortened.
    """

    name: str
    title: str
    source: str
    metric: str
    readout: str
    seeds: tuple[int, ...]
    variant: str
    declared_variant: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    gains: dict[str, str] = field(hash=False)
    claims: tuple[Claim, ...] = ()
    figure: tuple[Panel, ...] = (Panel(),)
    validation: dict[str, Any] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    steps: int | None = None

    @property
    def trials(self) -> int:
        """The number of trials per cell."""
        return len(self.seeds)

    @property
    def lower_is_better(self) -> bool:
        """True if lower values of the metric are better, as for errors and times."""
        return lower_is_better(self.metric)

    def seed(self, trial: int) -> int:
        """Return the seed of a trial; further trials than the table's get seeds after its largest one."""
        return self.seeds[trial] if trial < self.trials else max(self.seeds) + 1 + trial - self.trials

    def as_variant(self, variant: str | None) -> Table:
        """Return the table with all cells in this variant; None: unchanged.

        Raises:
            InputError: there is no such variant.
        """
        if variant is None:
            return self
        if variant not in VARIANTS:
            raise InputError(f"unknown variant '{variant}'; {nearest(variant, VARIANTS)}")
        return replace(
            self, variant=variant, cells=tuple(share_folders([cell.as_variant(variant) for cell in self.cells]))
        )

    def with_options(self, options: Mapping[str, Any] | None, chosen: Sequence[Cell] | None = None) -> Table:
        """Return the table with the dotted keys of `--cfg-options` on top of every cell; None: unchanged.

        Keys of an earlier stage apply to the cells that have this stage.

        Args:
            options: dotted key -> value; text of the command line is an `OptionText`.
            chosen: the cells of which one must have the stage of each key; None: all.

        Raises:
            InputError: a key or a value is not plain data, see `openmix.benchmark.values`, or a key is of an earlier
                stage that none of the chosen cells has.
        """
        if not options:
            return self
        check_settings('--cfg-options', options)
        found = settled('--cfg-options', options)
        check_dotted('--cfg-options', found, ('seed',))
        chosen = self.cells if chosen is None else chosen
        reached = {key for cell in chosen for key in reaching(found, cell.overrides)}
        if lost := [key for key in found if key not in reached]:
            raise InputError(f"option '{lost[0]}': none of the {len(chosen)} chosen cells has this earlier stage")
        cells = (replace(cell, options=reaching(found, cell.overrides)) for cell in self.cells)
        return replace(self, options=found, cells=tuple(cells))

    def with_steps(self, steps: int | None, chosen: Sequence[Cell]) -> Table:
        """Return the table whose chosen cells train this number of iterations, by `--steps`; None: unchanged.

        Raises:
            InputError: `steps` is out of range, or options set the length too.
        """
        if steps is None:
            return self
        check_number('--steps', steps, 1)
        for key in LENGTHS:
            if sets(self.options, key):
                raise InputError(f'--steps and --cfg-options {key} both say how long to train; give one of them')
        names = {(cell.row, cell.column) for cell in chosen}
        short = (replace(cell, steps=steps) if (cell.row, cell.column) in names else cell for cell in self.cells)
        return replace(self, steps=steps, cells=tuple(short))

    @property
    def said(self) -> dict[str, Any]:
        """The changes from the command line: dotted keys, and '--steps'."""
        return self.options | ({} if self.steps is None else {STEPS: self.steps})

    def cell(self, row: str, column: str) -> Cell:
        """Return one cell by name or slug.

        Raises:
            InputError: there is no such row, column or cell.
        """
        row, column = _name_of('row', row, self.rows, self.name), _name_of('column', column, self.columns, self.name)
        for cell in self.cells:
            if (cell.row, cell.column) == (row, column):
                return cell
        raise InputError(f"table '{self.name}' has no cell '{row} / {column}'; it declares it absent")

    def select(self, rows: str | None = None, columns: str | None = None) -> list[Cell]:
        """Return the cells whose row and column match the globs (case-insensitive; None: all).

        Raises:
            InputError: a glob matches nothing, or only absent cells.
        """
        kept_rows = _matching('row', rows, self.rows, self.name)
        kept_columns = _matching('column', columns, self.columns, self.name)
        cells = [cell for cell in self.cells if cell.row in kept_rows and cell.column in kept_columns]
        if not cells:
            raise InputError(f"table '{self.name}': rows '{rows}' and columns '{columns}' meet only in absent cells")
        return cells


def default_work_dir(table: Table) -> Path:
    """Return the default work folder of a table; it differs for another variant, options or a shorter length."""
    other = '' if table.variant == table.declared_variant else f'@{table.variant}'
    if table.options:
        said = json.dumps(table.options, sort_keys=True, default=str)
        other += f'@options-{hashlib.sha256(said.encode()).hexdigest()[:6]}'
    other += '' if table.steps is None else f'@steps-{table.steps}'
    return Path('work_dirs') / 'tables' / f'{table.name}{other}'


def _name_of(kind: str, given: str, names: Sequence[str], table: str) -> str:
    if given in names:
        return given
    found = [name for name in names if given in (slug(name), plain_slug(name))]
    if len(found) != 1:
        several = f'; it may be {" or ".join(map(repr, found))}' if found else f'; {nearest(given, names)}'
        raise InputError(f"table '{table}' has no {kind} '{given}'{several}")
    return found[0]


def _matching(kind: str, glob: str | None, names: Sequence[str], table: str) -> list[str]:
    if glob is None or glob in names:
        return list(names) if glob is None else [glob]
    kept = [name for name in names if fnmatchcase(name.lower(), glob.lower())]
    if not kept:
        raise InputError(f"table '{table}': no {kind} matches '{glob}'; {nearest(glob, names)}")
    return kept


def table_names() -> list[str]:
    """List the shipped tables, by name below `configs/tables`."""
    root = configs_dir() / 'tables'
    return sorted(str(path.relative_to(root).with_suffix('')) for path in root.rglob('*.yaml'))


def table_path(name: str | Path) -> Path:
    """Return the path of the file that `load_table` reads; it may be missing."""
    return _given_file(name) or configs_dir() / 'tables' / f'{str(name).removesuffix(".yaml")}.yaml'


def _given_file(name: str | Path) -> Path | None:
    """Return the path if a path was given; None if the name of a shipped table was given."""
    path = Path(name)
    # lexists is false for a name that no file can have.
    return path if path.suffix in ('.yaml', '.yml') and os.path.lexists(path) else None


def load_table(name: str | Path) -> Table:
    """Load a table by path, or by name below `configs/tables`.

    Raises:
        InputError: there is no such table, or the file does not describe one.
    """
    return _build(*_read(name))


def _read(name: str | Path) -> tuple[str, dict]:
    """Return the name of a table and the unchecked content of its file."""
    if (given := _given_file(name)) is not None:
        root = configs_dir() / 'tables'
        open_regular(given).close()  # raises an error if it is not a regular file
        inside = given.resolve().is_relative_to(root.resolve())
        label = str(given.resolve().relative_to(root.resolve()).with_suffix('')) if inside else given.stem
        return check_name('the name of a table', label), load_yaml(given)
    label = str(name).removesuffix('.yaml')
    if label not in table_names():
        raise InputError(f'no table {brief(str(name))}; {nearest(label, table_names())}')
    return label, load_yaml(table_path(name))


def _build(name: str, raw: dict) -> Table:
    schema = read_schema(name, raw)
    cells = tuple(expand(name, schema, functools.cache(lambda other: read_schema(*_read(other)))))
    gains = schema.gains | loss_gains(schema)
    for i, claim in enumerate(schema.claims):
        if not pairs_of(claim, cells, gains):
            raise InputError(f"table '{name}', claims {i}: its globs choose no pair of cells to compare")
    return Table(
        name=name,
        title=schema.title,
        source=schema.source,
        metric=schema.metric,
        readout=schema.readout,
        seeds=schema.seeds,
        variant=schema.variant,
        declared_variant=schema.variant,
        rows=tuple(schema.rows),
        columns=tuple(schema.columns),
        cells=cells,
        gains=gains,
        claims=schema.claims,
        figure=schema.figure,
        validation=schema.validation,
        notes=schema.notes,
    )
