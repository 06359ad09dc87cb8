"""The panels of a figure, in a table's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openmix.benchmark.claims import matches
from openmix.benchmark.fields import check_known, globs_of, list_of, mapping_of
from openmix.benchmark.values import check_text
from openmix.errors import InputError

if TYPE_CHECKING:
    from openmix.benchmark.cell import Cell

KINDS = {
    'bars': 'a group of bars for each row, a bar for each column',
    'lines': 'a line for each row over the columns, or with `over: rows` the other way round',
    'heat map': 'a square for each row and column',
    'curves': 'a curve over training for each cell',
    'scatter': 'a point for each row: the first of two columns across, the second up',
}
OVER = ('columns', 'rows')
_FIELDS = ('title', 'kind', 'rows', 'columns', 'over', 'x', 'y')


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Attributes:
        kind: one of `KINDS`.
        title: text above it; may be empty.
        rows, columns: globs of the cells that it shows.
        over: what the horizontal axis of `lines` runs over, one of `OVER`.
        x, y: labels of the axes; '' for the default, such as the metric.
        measure: the cells' `measure`: '' for what training recorded.
    """

    kind: str = 'bars'
    title: str = ''
    rows: tuple[str, ...] = ('*',)
    columns: tuple[str, ...] = ('*',)
    over: str = 'columns'
    x: str = ''
    y: str = ''
    measure: str = ''

    def takes(self, cell: Cell) -> bool:
        """Return true if the panel shows the cell."""
        return cell.measure == self.measure and matches(cell.row, self.rows) and matches(cell.column, self.columns)


def read_panels(where: str, raw: Any, rows: Sequence[str], columns: Sequence[str]) -> tuple[Panel, ...]:
    """Check a list of panels; without one, bars of all cells are the only panel.

    Raises:
        InputError: a field is unknown or has a wrong value, or a panel shows no cell.
    """
    found = tuple(_panel(f'{where} {i}', panel) for i, panel in enumerate(list_of(where, raw)))
    for i, panel in enumerate(found):
        shown = [column for column in columns if matches(column, panel.columns)]
        if not shown or not any(matches(row, panel.rows) for row in rows):
            raise InputError(f'{where} {i}: its rows and columns match no cell of the table')
        if panel.kind == 'scatter' and len(shown) != 2:
            raise InputError(f'{where} {i}: a scatter plot needs two columns, its globs match {len(shown)}')
    return found or (Panel(),)


def _panel(where: str, raw: Any) -> Panel:
    given = mapping_of(where, raw)
    for key in given:
        check_known(where, 'field', key, _FIELDS)
    if 'kind' not in given:
        raise InputError(f'{where}: kind is missing; it is one of {", ".join(KINDS)}')
    check_known(where, 'kind', given['kind'], KINDS)
    if 'over' in given:
        check_known(where, 'over', given['over'], OVER)
        if given['kind'] != 'lines':
            raise InputError(f'{where}: over is of lines alone')
    read: dict[str, Any] = {key: given[key] for key in ('kind', 'over') if key in given}
    read |= {key: check_text(f'{where}: {key}', given[key]) for key in ('title', 'x', 'y') if key in given}
    read |= {key: globs_of(f'{where}: {key}', given[key]) for key in ('rows', 'columns') if key in given}
    return Panel(**read)
