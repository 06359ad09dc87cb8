"""Claims of a paper about its table, as comparisons of cells that are tested on published or measured numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from openmix.benchmark.cell import Cell

Place = tuple[str, str]  # (row, column)
PAIRS = ('row', 'column', 'each')
_ROUNDING = 1e-6  # 79.88 - 79.38 is not 0.5 in binary


@dataclass(frozen=True)
class Selection:
    """A selection of the cells whose row and column each match one of the globs."""

    rows: tuple[str, ...] = ('*',)
    columns: tuple[str, ...] = ('*',)

    def takes(self, cell: Cell) -> bool:
        """Return true if the selection includes the cell."""
        return matches(cell.row, self.rows) and matches(cell.column, self.columns)


def matches(name: str, globs: Sequence[str]) -> bool:
    """Return true if a name equals one of the globs, or matches one, ignoring case."""
    return any(name == glob or fnmatchcase(name.lower(), glob.lower()) for glob in globs)


@dataclass(frozen=True)
class Claim:
    """A claim that the numbers of some cells are larger than those of others.

    Attributes:
        text: the claim in words.
        higher, lower: the cells with the larger and the smaller numbers, whatever the metric.
        pair: which cells are compared, see `pairs_of`.
        margin: smallest required difference; None: any above zero.
        printed: true if the claim holds on the published numbers.
        note: the reason if it does not.
    """

    text: str
    higher: Selection
    lower: Selection
    pair: str
    margin: float | None = None
    printed: bool = True
    note: str = ''


class Verdict(NamedTuple):
    """The outcome of a claim on a set of numbers: 'held', 'not held' or 'not yet run'."""

    claim: Claim
    outcome: str
    failing: tuple[str, ...]
    missing: tuple[str, ...]


def pairs_of(claim: Claim, cells: Sequence[Cell], gains: Mapping[str, str]) -> list[tuple[Cell, Cell]]:
    """List the (higher, lower) pairs of cells that a claim compares.

    'row': within a row, each higher column with the lower column that `gains` pairs it with; others are paired in
    order, and a single lower column is paired with all. 'column': within a column, each higher row with each lower
    row. 'each': every higher cell with every lower cell.
    """
    higher = [cell for cell in cells if claim.higher.takes(cell)]
    lower = [cell for cell in cells if claim.lower.takes(cell)]
    pairs = [(above, below) for above in higher for below in lower if above != below]
    if claim.pair == 'column':
        return [(above, below) for above, below in pairs if above.column == below.column]
    if claim.pair == 'row':
        over = _column_pairs(higher, lower, gains)
        return [(a, b) for a, b in pairs if a.row == b.row and over.get(a.column) == b.column]
    return pairs


def _column_pairs(higher: Sequence[Cell], lower: Sequence[Cell], gains: Mapping[str, str]) -> dict[str, str]:
    above, below = (list(dict.fromkeys(cell.column for cell in cells)) for cells in (higher, lower))
    if len(below) == 1:
        return dict.fromkeys(above, below[0])
    named = {column: gains[column] for column in above if gains.get(column) in below}
    unnamed = [column for column in above if column not in named]
    free = [column for column in below if column not in named.values()]
    return named | dict(zip(unnamed, free))


def judge(claim: Claim, pairs: Sequence[tuple[Cell, Cell]], numbers: Mapping[Place, float | None]) -> Verdict:
    """Test the pairs of a claim on numbers by (row, column); one failing pair decides, also if others are missing."""
    failing: list[str] = []
    missing: dict[str, None] = {}
    for above, below in pairs:
        a, b = numbers.get((above.row, above.column)), numbers.get((below.row, below.column))
        missing |= {cell.name: None for cell, number in ((above, a), (below, b)) if number is None}
        if a is not None and b is not None and not _far_enough(a - b, claim.margin):
            failing.append(f'{above.name} {a:.2f} over {below.name} {b:.2f}')
    outcome = 'not held' if failing else 'not yet run' if missing or not pairs else 'held'
    return Verdict(claim, outcome, tuple(failing), tuple(missing))


def _far_enough(difference: float, margin: float | None) -> bool:
    return difference > _ROUNDING if margin is None else difference >= margin - _ROUNDING


def on_print(claim: Claim, cells: Sequence[Cell], gains: Mapping[str, str]) -> Verdict:
    """Test a claim on the published numbers; pairs without them are left out."""
    pairs = [pair for pair in pairs_of(claim, cells, gains) if all(cell.published is not None for cell in pair)]
    return judge(claim, pairs, {(cell.row, cell.column): cell.published for cell in cells})
