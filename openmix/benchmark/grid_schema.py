"""Check the `grid` of a table: values to choose from, or the column whose search chooses the value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from openmix.benchmark.cell import Cell
from openmix.benchmark.fields import check_known, mapping_of
from openmix.benchmark.limits import MOST_POINTS
from openmix.benchmark.values import check_settings, check_type
from openmix.errors import InputError, brief

_COLUMN = 'column'


class Grid(NamedTuple):
    """The two parts of a grid.

    Attributes:
        values: dotted key -> values to choose from.
        chosen_for: dotted key -> the column whose search chooses the value.
    """

    values: dict[str, list]
    chosen_for: dict[str, str]


def read_grid(where: str, raw: Any) -> dict[str, Any]:
    """Check a grid: a list of values for each dotted key, or `{column: NAME}`.

    Raises:
        InputError: it is neither, lists a value twice, or has too many combinations.
    """
    grid = mapping_of(where, raw)
    check_settings(where, grid)
    for key, values in grid.items():
        if isinstance(values, Mapping) and set(values) == {_COLUMN} and isinstance(values[_COLUMN], str):
            continue
        if not isinstance(values, list) or not values:
            raise InputError(
                f"{where}: '{key}' needs a list of values, or {{column: NAME}} for what that column's search chooses, "
                f'got {brief(values)}'
            )
        if len({repr(value) for value in values}) < len(values):
            raise InputError(f"{where}: '{key}' lists a value twice, got {brief(values)}")
        if key.rpartition('.')[2] == 'type':
            for value in values:
                check_type(where, str(value))
    if math.prod(map(len, divide(grid).values.values())) > MOST_POINTS:
        raise InputError(f'{where}: more than {MOST_POINTS} combinations')
    return grid


def divide(grid: Mapping[str, Any]) -> Grid:
    """Divide a checked grid into lists of values and columns."""
    columns = {key: value[_COLUMN] for key, value in grid.items() if isinstance(value, Mapping)}
    return Grid({key: value for key, value in grid.items() if key not in columns}, columns)


def check_columns(where: str, cells: Sequence[Cell], columns: Sequence[str]) -> None:
    """Check that every column which chooses for another one searches for that key itself, in the same row.

    Raises:
        InputError: there is no such column or cell, or it does not search for the key.
    """
    at = {(cell.row, cell.column): cell for cell in cells}
    for cell in cells:
        for key, column in cell.chosen_for.items():
            place = f"{where}, cell '{cell.name}', grid"
            check_known(place, 'column', column, columns)
            other = at.get((cell.row, column))
            if other is None or not other.implemented or key not in other.grid:
                raise InputError(
                    f"{place}: '{key}' is chosen for '{cell.row} / {column}', which does not search for it"
                )


def with_chosen(cell: Cell, points: Mapping[str, Mapping[str, Any] | None]) -> Cell | None:
    """Fix what other columns have chosen, as a grid of one value a key; None if a search is not finished.

    Args:
        cell: the cell.
        points: column -> the point that its search chose; None: not finished.
    """
    fixed: dict[str, list] = {}
    for key, column in cell.chosen_for.items():
        point = points[column]
        if point is None:
            return None
        fixed[key] = [point[key]]
    return replace(cell, grid=fixed | cell.grid, chosen_for={})
