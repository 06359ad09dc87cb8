"""From a checked table file to its cells, and to the columns that are compared without being named."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from openmix.benchmark.cell import Cell, layered
from openmix.benchmark.folders import slugs
from openmix.benchmark.schema import RESERVED, Schema
from openmix.errors import InputError


def expand(name: str, schema: Schema) -> list[Cell]:
    """The cells that exist, row by row."""
    where = f"table '{name}'"
    row_slug, column_slug = (
        slugs(f'{where}, {kind}', of) for kind, of in (('row', schema.rows), ('column', schema.columns))
    )
    cells: list[Cell] = []
    folders: dict[Hashable, str] = {}
    defaults = {'config': schema.base, 'metric': schema.metric, 'readout': schema.readout, 'grid': schema.grid}
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
        implemented = all(part.get('implemented', True) for part in (schema.rows[row], schema.columns[column]))
        overrides = layered(defaults | schema.columns[column] | schema.rows[row], exception)
        words = {word: overrides.pop(word, None) for word in RESERVED}
        words['implemented'] = exception.get('implemented', implemented)
        if not words['config']:
            raise InputError(f"{where}: cell '{row} / {column}' has no recipe; set 'base' or the column's 'config'")
        folder = f'{row_slug[row]}/{column_slug[column]}'
        cell = Cell(name, row, column, overrides=overrides, folder=folder, variant=schema.variant, **numbers, **words)
        cells.append(replace(cell, folder=folders.setdefault(_run_of(cell), folder)))
    return cells


def _run_of(cell: Cell) -> Hashable:
    """The key of a cell's training: cells that read one training, such as its accuracy and its robustness, share it."""
    if not cell.implemented:
        return cell.row, cell.column
    searched = (cell.metric, cell.readout) if cell.grid else None
    return cell.config, repr(_sorted(cell.grid)), repr(_sorted(_folded(cell.overrides))), searched


def _sorted(node: Any) -> Any:
    """A value with the keys of every dict in it in order, so that equal ones read the same."""
    if isinstance(node, Mapping):
        return {key: _sorted(node[key]) for key in sorted(node)}
    return [_sorted(value) for value in node] if isinstance(node, (list, tuple)) else node


def _folded(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides with those keys that refine a replaced dict written into it, so that equal ones compare equal."""
    folded = {key: dict(value) if isinstance(value, Mapping) else value for key, value in overrides.items()}
    for key in overrides:
        whole, _, leaf = key.rpartition('.')
        if isinstance(folded.get(whole), dict) and folded[whole].get('_delete_'):
            folded[whole][leaf] = folded.pop(key)
    return folded


def loss_gains(schema: Schema) -> dict[str, str]:
    """Column -> the first column that differs from it only in the loss; columns that `gains` names are left out."""
    named = {*schema.gains, *schema.gains.values()}
    first: dict[str, str] = {}
    found = {}
    for column, overrides in schema.columns.items():
        rest = {key: value for key, value in overrides.items() if not f'{key}.'.startswith('model.head.loss.')}
        if column not in named and len(rest) < len(overrides):
            over = first.setdefault(repr(sorted(rest.items(), key=lambda item: item[0])), column)
            if over != column:
                found[column] = over
    return found
