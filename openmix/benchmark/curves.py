"""Learning curves as an SVG that takes the page's text colour."""

from __future__ import annotations

import io
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from openmix.benchmark.records import Record

# Told apart by people with colour-vision deficiency, and readable on white and on black.
_COLOURS = (
    *('#7f8894', '#0b84d8', '#e0710f', '#1a9e6e', '#c2447f'),
    *('#9467d9', '#b08d00', '#2ab3c0', '#d34b3e', '#6c8f2f'),
)
_STYLES: tuple[Literal['-', '--', ':', '-.'], ...] = ('-', '--', ':', '-.')
_LEGEND_CHARACTERS = 96  # in one line of the figure's width
_INK = '#010203'  # stands for the page's text colour until the SVG is finished


def colour_of(index: int) -> str:
    """The colour of the row at `index`."""
    return _COLOURS[index % len(_COLOURS)]


def mean_curve(record: Record, metric: str) -> tuple[list[int], list[float]]:
    """(epochs, mean over the finished trials) of a metric."""
    values: dict[int, list[float]] = defaultdict(list)
    for result in record.results:
        for row in result.get('history', []):
            if metric in row:
                values[row['epoch']].append(row[metric])
    epochs = sorted(values)
    return epochs, [statistics.fmean(values[epoch]) for epoch in epochs]


def draw_curves(records: Sequence[Record], metric: str) -> str | None:
    """One panel, a colour a row and a line style a column; None where no run is finished.

    The frame starts a little below the lowest value of the second half of training, so that the
    end, where methods differ, fills it.
    """
    drawn = [(record, *mean_curve(record, metric)) for record in records]
    drawn = [(record, epochs, values) for record, epochs, values in drawn if epochs]
    if not drawn:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    rows = list(dict.fromkeys(record.cell.row for record, _, _ in drawn))
    columns = list(dict.fromkeys(record.cell.column for record, _, _ in drawn))
    late = [value for _, _, values in drawn for value in values[len(values) // 2 :]]
    top = max(value for _, _, values in drawn for value in values)
    margin = max(top - min(late), 1e-3) * 0.12
    ink: dict[Any, str] = dict.fromkeys(
        ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), _INK
    )
    with rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'openmix', 'font.size': 10, **ink}):
        figure = Figure(figsize=(8, 4.4), layout='constrained')
        axes = figure.add_subplot()
        for record, epochs, values in drawn:
            style = _STYLES[columns.index(record.cell.column) % len(_STYLES)]
            marker = 'o' if len(epochs) == 1 else None
            colour = colour_of(rows.index(record.cell.row))
            axes.plot(epochs, values, style, color=colour, marker=marker, linewidth=1.6)
        axes.set(xlabel='epoch', ylabel=metric, ylim=(min(late) - margin, top + margin))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.15, color=_INK)
        axes.spines[['top', 'right']].set_visible(False)
        handles = [Line2D([], [], color=colour_of(i), linewidth=3, label=row) for i, row in enumerate(rows)]
        if len(columns) > 1:
            handles += [
                Line2D([], [], color=_INK, linestyle=_STYLES[i % len(_STYLES)], label=column)
                for i, column in enumerate(columns)
            ]
        # Long names take more lines, not more width than the figure has.
        widest = max(len(name) for name in (*rows, *columns))
        ncols = max(1, min(len(handles), _LEGEND_CHARACTERS // (widest + 6)))
        figure.legend(handles=handles, loc='outside lower center', ncols=ncols, frameon=False)
        text = io.StringIO()
        figure.savefig(text, format='svg', transparent=True, metadata={'Date': None})
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :].replace(_INK, 'currentColor')
    size = re.compile(r'(<svg[^>]*?) (?:width|height)="[^"]*"')  # the page sets it; viewBox keeps the shape
    return size.sub(r'\1', size.sub(r'\1', svg, count=1), count=1)
