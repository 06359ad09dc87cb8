"""Tables of words for the terminal and for pipes: a name that one must type is never cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from openmix.benchmark.escape import terminal

ENDLESS = 100_000  # columns of a pipe or a file: nothing is folded there
_AROUND = 3  # characters that a column takes beside its words


def grid(
    heads: Sequence[str], rows: Iterable[Sequence[Text | str]], title: str = '', numbers: Iterable[int] = ()
) -> Grid:
    """A table whose long words go on in the next line where the terminal is too narrow.

    Args:
        heads, rows: words; those that are plain text are escaped.
        numbers: places of the columns that stand to the right.
    """
    right = set(numbers)
    found = Grid(title=terminal(title, 'italic') if title else None, title_justify='left')
    for place, head in enumerate(heads):
        found.add_column(terminal(head), overflow='fold', justify='right' if place in right else 'left')
    for row in rows:
        found.add_row(*map(_text, row))
    return found


def _text(words: Text | str) -> Text:
    return terminal(words) if isinstance(words, str) else words


def blocks(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]], width: int, lines: bool = False
) -> RenderableType:
    """A wide table as several below each other, each as wide as the terminal and with the names of the rows.

    Args:
        columns: heads of all but the first column, over several lines.
        rows: the name of each, and one cell a column.
        width: of the terminal.
        lines: drawn between the rows.
    """
    names = [terminal(name) for name, _ in rows]
    first = _AROUND + 1 + max((_width(name) for name in names), default=0)
    found: list[list[int]] = [[]]
    taken = first
    for place, head in enumerate(columns):
        needs = _AROUND + max([_width(terminal(head)), *(_width(cells[place]) for _, cells in rows)])
        if found[-1] and taken + needs > width:
            found.append([])
            taken = first
        found[-1].append(place)
        taken += needs
    grids: list[RenderableType] = []
    for places in found:
        each = Grid(show_lines=lines)
        each.add_column('', overflow='fold')
        for place in places:
            each.add_column(terminal(columns[place]), justify='right', overflow='fold')
        for name, (_, cells) in zip(names, rows, strict=True):
            each.add_row(name, *(cells[place] for place in places))
        grids.append(each)
    return Group(*grids)


def _width(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.split('\n')), default=0)


def as_plain(found: RenderableType, width: int = ENDLESS) -> str:
    """What the terminal would show, without colours and without blanks at the ends of lines."""
    text = StringIO()
    console = Console(file=text, width=width, markup=False, emoji=False, highlight=False, color_system=None)
    console.print(found)
    return ''.join(f'{line.rstrip()}\n' for line in text.getvalue().splitlines())
