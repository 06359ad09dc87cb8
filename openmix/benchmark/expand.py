"""Expand a checked table file to its cells, and find the columns that differ only in the loss."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from openmix.benchmark.as_published import PREFIX as PRINTED
from openmix.benchmark.as_published import without_printed
from openmix.benchmark.cell import Cell, layered
from openmix.benchmark.earlier import PREFIX, cleared, resolved, unmarked
from openmix.benchmark.folders import slug, slugs
from openmix.benchmark.grid_schema import check_columns, divide
from openmix.benchmark.schema import RESERVED, Schema
from openmix.errors import InputError, brief, nearest

SchemaOf = Callable[[str], Schema]


def expand(name: str, schema: Schema, schema_of: SchemaOf) -> list[Cell]:
    """List the cells that exist, row by row.

    Args:
        name: name of the table.
        schema: the checked table file.
        schema_of: function that reads another table, whose cells may be earlier stages.

    Raises:
        InputError: a cell has no recipe, is absent but has a number, or starts from a cell that does not exist.
    """
    where = f"table '{name}'"
    row_slug, column_slug = (
        slugs(f'{where}, {kind}', of) for kind, of in (('row', schema.rows), ('column', schema.columns))
    )
    cells: list[Cell] = []

    def said_of(place: str, table: str, row: str, column: str) -> dict[str, Any]:
        try:
            other = schema if table == name else schema_of(table)
        except InputError as error:
            raise InputError(f'{place}: {error}') from error
        return _as_stage(place, table, other, row, column)

    for row, column in ((row, column) for row in schema.rows for column in schema.columns):
        exception = schema.exceptions.get(row, {}).get(column, {})
        numbers = {
            key: getattr(schema, key).get(row, {}).get(column) for key in ('published', 'spread', 'other_source')
        }
        if exception is None:
            for key, number in numbers.items():
                if number is not None:
                    raise InputError(
                        f"{where}: cell '{row} / {column}' is declared absent but has the number {number} in {key}"
                    )
            continue
        place, trail = f"{where}, cell '{row} / {column}'", ((name, row, column),)
        overrides = resolved(place, _said(schema, row, column), said_of, layered, trail)
        words = {word: overrides.pop(word, None) for word in RESERVED}
        implemented = [overrides.pop(key) for key in list(overrides) if key.endswith(f'{PREFIX}implemented')]
        words['implemented'] = words['implemented'] and all(implemented)
        if not words['config']:
            raise InputError(f"{where}: cell '{row} / {column}' has no recipe; set 'base' or the column's 'config'")
        folder = f'{row_slug[row]}/{column_slug[column]}'
        grid = words['grid'] = words['grid'] or {}
        both = [key for key in grid if f'{PRINTED}{key}' in overrides]
        if both:
            raise InputError(f"{place}: '{both[0]}' is searched by the grid and set by published; leave out one")
        words['grid'], chosen_for = divide(grid)
        words |= {'folder': folder, 'variant': schema.variant, 'chosen_for': chosen_for}
        cells.append(Cell(name, row, column, overrides=overrides, **numbers, **words))
    check_columns(where, cells, list(schema.columns))
    return share_folders(cells)


def share_folders(cells: Sequence[Cell]) -> list[Cell]:
    """Give cells with the same run the folder of the first one; the variant decides what is the same run."""
    folders: dict[Hashable, str] = {}
    own = ((cell, f'{slug(cell.row)}/{slug(cell.column)}') for cell in cells)
    return [replace(cell, folder=folders.setdefault(_run_of(cell), folder)) for cell, folder in own]


def _said(schema: Schema, row: str, column: str) -> dict[str, Any]:
    """Merge a cell's overrides: defaults, then its column, its row and its exception."""
    of_row, of_column = schema.rows[row], schema.columns[column]
    exception = schema.exceptions.get(row, {}).get(column) or {}
    implemented = all(part.get('implemented', True) for part in (of_row, of_column))
    defaults = {'config': schema.base, 'metric': schema.metric, 'readout': schema.readout, 'grid': schema.grid}
    said = defaults | cleared(of_column, of_row) | of_row
    said = layered(cleared(said, exception), exception)
    return unmarked(said) | {'implemented': exception.get('implemented', implemented)}


def _as_stage(where: str, table: str, schema: Schema, row: str, column: str) -> dict[str, Any]:
    """Return the overrides of a cell as the earlier stage of another cell.

    Raises:
        InputError: there is no such cell, or its recipe depends on a search.
    """
    for kind, given, names in (('row', row, schema.rows), ('column', column, schema.columns)):
        if given not in names:
            raise InputError(f"{where}: table '{table}' has no {kind} {brief(given)}; {nearest(given, names)}")
    cell = f"'{row} / {column}' of table '{table}'"
    if schema.exceptions.get(row, {}).get(column, {}) is None:
        raise InputError(f'{where}: {cell} is declared absent')
    said = _said(schema, row, column)
    if said['grid']:
        raise InputError(f'{where}: {cell} has a grid, so its recipe is not known before a search; name a config')
    if not said['config']:
        raise InputError(f'{where}: {cell} has no recipe')
    of_the_last = ('metric', 'readout', 'grid')
    return {key: value for key, value in said.items() if key not in of_the_last} | {'variant': schema.variant}


def _run_of(cell: Cell) -> Hashable:
    """Return a key for a cell's training; cells with the same training, for example with two metrics, share it."""
    if not cell.implemented:
        return cell.row, cell.column
    said = without_printed(cell.overrides, cell.variant)
    searched = (cell.metric, cell.readout) if cell.grid else None
    chosen_for = tuple((key, cell.row, column) for key, column in sorted(cell.chosen_for.items()))
    return cell.config, repr(_sorted(cell.grid)), chosen_for, repr(_sorted(_folded(said))), searched


def _sorted(node: Any) -> Any:
    """Sort the keys of every dict in a value, so that equal values have the same `repr`."""
    if isinstance(node, Mapping):
        return {key: _sorted(node[key]) for key in sorted(node)}
    return [_sorted(value) for value in node] if isinstance(node, (list, tuple)) else node


def _folded(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Write keys that refine a replaced dict into that dict, so that equal overrides compare equal."""
    folded = {key: dict(value) if isinstance(value, Mapping) else value for key, value in overrides.items()}
    for key in overrides:
        whole, _, leaf = key.rpartition('.')
        if isinstance(folded.get(whole), dict) and folded[whole].get('_delete_'):
            folded[whole][leaf] = folded.pop(key)
    return folded


def loss_gains(schema: Schema) -> dict[str, str]:
    """Map each column to the first column that differs only in the loss; columns that `gains` names are left out."""
    named = {*schema.gains, *schema.gains.values()}
    first: dict[str, str] = {}
    found = {}
    for column, overrides in schema.columns.items():
        rest = {
            key: value
            for key, value in overrides.items()
            if not f'{key.removeprefix(PRINTED)}.'.startswith('model.head.loss.')
        }
        if column not in named and len(rest) < len(overrides):
            over = first.setdefault(repr(sorted(rest.items(), key=lambda item: item[0])), column)
            if over != column:
                found[column] = over
    return found
