"""Small SVG charts of one size, which fits a phone; the page shows as many side by side as it has space for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from openmix.benchmark.escape import html as escape
from openmix.benchmark.markup import attributes, element

WIDTH = 360
COLOURS = 10  # in the page's style sheet: told apart with colour-vision deficiency, on white and on black
DASHES = ('', '7 3', '2 3', '9 3 2 3')
_CHARACTER = 5.9  # width of one, on average
_MOST_CHARACTERS = 19


class Scale(NamedTuple):
    """A linear map from `low` .. `high` to `start` .. `end` in the image."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scale(values: Sequence[float], start: float, end: float, margin: float = 0.08) -> Scale:
    """Make a scale over all values, with a margin on either side, as a fraction of their range."""
    low, high = min(values), max(values)
    room = max(high - low, abs(high) * 1e-2, 1e-6) * margin
    return Scale(low - room, high + room, start, end)


def ticks(axis: Scale, count: int) -> list[tuple[float, str]]:
    """Choose at most `count` + 1 round numbers inside a scale; return each with its text."""
    from matplotlib.ticker import MaxNLocator

    found = [
        float(v)
        for v in MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(axis.low, axis.high)
        if axis.low <= v <= axis.high
    ]
    digits = next((d for d in range(7) if all(abs(round(v, d) - v) < 1e-9 + abs(v) * 1e-9 for v in found)), 7)
    return [(v, f'{v + 0.0:.{digits}f}'.replace('-', '−')) for v in found]


def short(name: str) -> str:
    """Shorten a name to fit beside a chart."""
    return name if len(name) <= _MOST_CHARACTERS else f'{name[: _MOST_CHARACTERS - 1]}…'


def width_of(text: str) -> float:
    """Estimate the width of a drawn text."""
    return len(text) * _CHARACTER


def line(x1: float, y1: float, x2: float, y2: float, kind: str = '') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{attributes(class_=kind)}/>'


def text(x: float, y: float, words: str, anchor: str = 'start', kind: str = '') -> str:
    where = f'x="{x:.1f}" y="{y:.1f}"' + ('' if anchor == 'start' else f' text-anchor="{anchor}"')
    return f'<text {where}{attributes(class_=kind)}>{escape(words)}</text>'


def mark(shape: int, x: float, y: float, kind: str, hint: str = '') -> str:
    """Draw a mark (dot, ring, triangle up or down, or square) with a tooltip."""
    at = f'translate({x:.1f} {y:.1f})'
    title = f'<title>{escape(hint)}</title>' if hint else ''
    path = ('M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0', '', 'M0-5L5 4H-5Z', 'M0 5L5-4H-5Z', 'M-4-4H4V4H-4Z')[shape % 5]
    ring = ' fill="none" stroke="currentColor" stroke-width="2"' if not path else ''
    path = path or 'M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0'
    return f'<path transform="{at}" d="{path}"{attributes(class_=kind)}{ring}>{title}</path>'


def axes(x: Scale, y: Scale, across: str, up: str) -> list[str]:
    """Draw grid, ticks, and the labels of the horizontal and vertical axes."""
    drawn = []
    for value, words in ticks(y, 5):
        drawn.append(line(x.start, y(value), x.end, y(value), 'grid'))
        drawn.append(text(x.start - 5, y(value) + 4, words, 'end', 'soft'))
    drawn += [text(x(value), y.start + 15, words, 'middle', 'soft') for value, words in ticks(x, 5)]
    drawn.append(line(x.start, y.start, x.end, y.start, 'zero'))
    return [*drawn, text(x.end, y.start + 33, across, 'end', 'soft'), text(0, y.start + 33, up, 'start', 'soft')]


def beside(dots: Sequence[tuple[float, float]], words: Sequence[str], inside: tuple[float, float]) -> list[str]:
    """Place a label beside each dot; '' for a label that would overlap another label or a dot."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    found = []
    for (x, y), name in zip(dots, words, strict=True):
        wide = width_of(name)
        sides = ((x + 8, y + 4), (x - 8 - wide, y + 4), (x - wide / 2, y - 9), (x - wide / 2, y + 17))
        boxes = [(left, base - 9, left + wide, base + 2) for left, base in sides]
        free = [i for i, box in enumerate(boxes) if _fits(box, inside) and not any(_meet(box, b) for b in taken)]
        found.append(text(*sides[free[0]], name) if free else '')
        taken += [boxes[i] for i in free[:1]]
    return found


def _fits(box: tuple[float, ...], inside: tuple[float, float]) -> bool:
    return box[0] >= inside[0] and box[2] <= inside[1] + 8 and box[1] >= 0


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def panel(title: str, height: float, body: str, says: str, column: str | None = None) -> str:
    """Write one chart.

    Args:
        title: caption.
        height: height of the drawing.
        body: SVG elements.
        says: description for screen readers.
        column: the table's column that it shows; the chart is hidden when that column is filtered out.
    """
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img"{attributes(aria_label=says)} '
        f'fill="currentColor">{body}</svg>'
    )
    return element('figure', f'<figcaption>{escape(title)}</figcaption>{svg}', class_='panel', data_column=column)


def panels(found: Sequence[str]) -> str:
    """Arrange charts side by side; '' if there are none."""
    return f'<div class="panels">\n{"".join(found)}</div>\n' if found else ''
