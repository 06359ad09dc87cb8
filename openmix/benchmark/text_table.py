"""Text tables for the terminal and for pipes; names are never truncated, as users must type them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import MINIMAL
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from openmix.benchmark.escape import terminal

ENDLESS = 100_000  # width of a pipe or a file, where no line is folded
_AROUND = 3  # characters between two columns


@dataclass(frozen=True)
class TextTable:
    """A text table.

    Attributes:
        heads: one per column; may have several lines.
        rows: one text per column.
        title: title above the table.
        right: indices of right-aligned columns.
        lines: draw lines between rows.
    """

    heads: tuple[Text, ...]
    rows: tuple[tuple[Text, ...], ...]
    title: str = ''
    right: frozenset[int] = frozenset()
    lines: bool = False

    def widths(self) -> list[int]:
        """Compute the width of each column in characters."""
        cells = [self.heads, *self.rows]
        return [max(_width(row[place]) for row in cells) for place in range(len(self.heads))]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw the grid for a terminal; a text that is too wide continues in the next line of its column."""
        title = terminal(self.title, 'italic') if self.title else None
        found = RichTable(title=title, title_justify='left', box=MINIMAL, pad_edge=False, show_lines=self.lines)
        for place, head in enumerate(self.heads):
            found.add_column(head, overflow='fold', justify='right' if place in self.right else 'left')
        for row in self.rows:
            found.add_row(*row)
        yield found

    def plain(self) -> str:
        """Write the table as plain text at full width, without colours; faster than rich for many cells."""
        widths = self.widths()
        rule = '─┼─'.join('─' * width for width in widths)
        drawn = [self.title] if self.title else []
        drawn += self._lines(self.heads, widths)
        for i, row in enumerate(self.rows):
            drawn += [rule] if self.lines or i == 0 else []
            drawn += self._lines(row, widths)
        return ''.join(f'{line.rstrip()}\n' for line in drawn)

    def _lines(self, row: Sequence[Text], widths: Sequence[int]) -> list[str]:
        split = [text.plain.split('\n') for text in row]
        height = max((len(lines) for lines in split), default=0)
        return [
            ' │ '.join(
                _padded(lines[i] if i < len(lines) else '', width, place in self.right)
                for place, (lines, width) in enumerate(zip(split, widths, strict=True))
            )
            for i in range(height)
        ]


def _padded(words: str, width: int, right: bool) -> str:
    room = ' ' * (width - cell_len(words))
    return room + words if right else words + room


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split('\n')))


def text_table(heads: Sequence[str], rows: Iterable[Sequence[Text | str]], title: str = '') -> TextTable:
    """Make a text table; plain strings are escaped."""
    texts = tuple(tuple(terminal(word) if isinstance(word, str) else word for word in row) for row in rows)
    return TextTable(tuple(map(terminal, heads)), texts, title)


def blocks(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]], width: int, lines: bool = False
) -> list[TextTable]:
    """Split a wide table into several that fit the terminal's width, each with the names of the rows.

    Args:
        columns: heads of all columns except the first; may have several lines.
        rows: name of the row, and one text per column.
        width: width of the terminal.
        lines: draw lines between rows.
    """
    whole = TextTable(
        (Text(), *map(terminal, columns)), tuple((terminal(name), *cells) for name, cells in rows), lines=lines
    )
    first, *needs = (_AROUND + wide for wide in whole.widths())
    found: list[list[int]] = [[]]
    taken = first + 1
    for place, need in enumerate(needs, 1):
        if found[-1] and taken + need > width:
            found.append([])
            taken = first + 1
        found[-1].append(place)
        taken += need
    return [_part(whole, [0, *places]) for places in found]


def _part(whole: TextTable, places: Sequence[int]) -> TextTable:
    rows = tuple(tuple(row[place] for place in places) for row in whole.rows)
    right = frozenset(range(1, len(places)))
    return TextTable(tuple(whole.heads[place] for place in places), rows, whole.title, right, whole.lines)


def as_plain(found: RenderableType) -> str:
    """Write a group of texts and tables for a pipe: without colours, folded lines or trailing blanks."""
    if isinstance(found, Group):
        return ''.join(map(as_plain, found.renderables))
    if isinstance(found, TextTable):
        return found.plain()
    if isinstance(found, Text):
        return ''.join(f'{line.rstrip()}\n' for line in found.plain.split('\n'))
    raise TypeError(f'{type(found).__name__} has no plain form')
