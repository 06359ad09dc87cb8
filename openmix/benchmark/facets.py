"""Facets: the parts of column names and their meaning, by which a reader can filter columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from openmix.benchmark.cell import Cell

SEPARATOR = ' / '  # between the parts of 'CIFAR-100 / R-18 / MCE'
LOSS = 'Loss'


class Facet(NamedTuple):
    """One part of the column names.

    Attributes:
        position: index of the part, from 0.
        title: 'Data set', 'Loss', or 'Setting' for anything else.
        values: its values in the table's order, two or more.
    """

    position: int
    title: str
    values: tuple[str, ...]


def parts(column: str) -> list[str]:
    """Split a column's name into its parts."""
    return column.split(SEPARATOR)


def facets(cells: Sequence[Cell]) -> list[Facet]:
    """Find the parts in which the names of the cells' columns differ."""
    first = {cell.column: cell for cell in reversed(cells)}
    names = list(dict.fromkeys(cell.column for cell in cells))
    found = []
    for position in range(max((len(parts(name)) for name in names), default=0)):
        values = tuple(dict.fromkeys(parts(name)[position] for name in names if len(parts(name)) > position))
        if len(values) > 1:
            found.append(Facet(position, _title(position, first), values))
    return found


def without_loss(column: str, found: Sequence[Facet]) -> str:
    """Return the name of a column without the part that names its loss."""
    lost = {facet.position for facet in found if facet.title == LOSS}
    return SEPARATOR.join(part for i, part in enumerate(parts(column)) if i not in lost)


def loss_of(column: str, found: Sequence[Facet]) -> str:
    """Return the part of a column's name that names its loss; '' if there is none."""
    said = {facet.position for facet in found if facet.title == LOSS}
    return SEPARATOR.join(part for i, part in enumerate(parts(column)) if i in said)


def _title(position: int, first: dict[str, Cell]) -> str:
    """Find the title of a part by the setting that differs with it: 'Data set', 'Loss' or 'Setting'."""
    different = [(left, right) for left in first for right in first if left < right and _differ(left, right, position)]
    alone = [(left, right) for left, right in different if _others(left, position) == _others(right, position)]
    tells: list[tuple[str, Callable[[Cell], Any], list]] = [
        ('Data set', _data_set, alone or different),
        (LOSS, _loss, alone),
    ]
    for title, fact, pairs in tells:
        if pairs and all(fact(first[left]) != fact(first[right]) for left, right in pairs):
            return title
    return 'Setting'


def _differ(left: str, right: str, position: int) -> bool:
    return parts(left)[position : position + 1] != parts(right)[position : position + 1]


def _others(column: str, position: int) -> list[str]:
    found = parts(column)
    return [*found[:position], '', *found[position + 1 :]]


def _data_set(cell: Cell) -> str:
    """Return the data set of a cell: the second folder in its recipe's name; '' if there is none."""
    return cell.config.split('/')[1] if cell.config.count('/') == 2 else ''


def _loss(cell: Cell) -> dict[str, Any]:
    return {key: value for key, value in cell.overrides.items() if key.startswith('model.head.loss')}
