"""Learning curves: a panel a column, a line a method."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from html import escape

from openmix.benchmark.markup import element
from openmix.benchmark.panels import COLOURS, DASHES, WIDTH, Scale, axes, mark, panel, panels, scale
from openmix.benchmark.records import Record
from openmix.benchmark.table import Table

_MOST_POINTS = 100  # of a line; as many as a phone can tell apart


def mean_curve(record: Record, metric: str) -> tuple[list[int], list[float]]:
    """(epochs, mean over the finished trials) of a metric."""
    values: dict[int, list[float]] = defaultdict(list)
    for result in record.results:
        for row in result.get('history', []):
            if metric in row:
                values[row['epoch']].append(row[metric])
    epochs = sorted(values)
    return epochs, [statistics.fmean(values[epoch]) for epoch in epochs]


def draw_curves(table: Table, records: Sequence[Record]) -> str:
    """The panels with their legend; '' where no run has a curve.

    A frame starts a little off the worst value of the second half of training, so that the end, where
    methods differ, fills it.
    """
    curves = [(record, *mean_curve(record, record.cell.metric)) for record in records]
    curves = [curve for curve in curves if curve[1]]
    rows = [row for row in table.rows if any(record.cell.row == row for record, _, _ in curves)]
    found = [
        _panel(column, drawn, rows)
        for column in table.columns
        if (drawn := [curve for curve in curves if curve[0].cell.column == column])
    ]
    return _legend(rows) + panels(found) if found else ''


def _panel(column: str, curves: Sequence[tuple[Record, list[int], list[float]]], rows: Sequence[str]) -> str:
    cell = curves[0][0].cell
    late = [value for _, _, values in curves for value in values[len(values) // 2 :]]
    best = (min if cell.lower_is_better else max)(value for _, _, values in curves for value in values)
    x = Scale(0, max(epochs[-1] for _, epochs, _ in curves), 44, WIDTH - 8)
    y = scale([*late, best], 222, 8)
    # A frame of its own cuts off what lies outside.
    frame = f'<svg x="{x.start}" y="2" width="{x.end - x.start + 4}" height="220" viewBox="{x.start} 2 '
    lines = ''.join(_line(record, epochs, values, rows, x, y) for record, epochs, values in curves)
    body = ''.join(axes(x, y, 'epoch', cell.metric)) + f'{frame}{x.end - x.start + 4} 220">{lines}</svg>'
    says = '; '.join(f'{record.cell.row} ends at {values[-1]:.2f}' for record, _, values in curves)
    return panel(column, 262, body, f'{cell.metric} after every epoch. {says}', column)


def _line(record: Record, epochs: list[int], values: list[float], rows: Sequence[str], x: Scale, y: Scale) -> str:
    step = -(-len(epochs) // _MOST_POINTS)
    kept = range((len(epochs) - 1) % step, len(epochs), step)  # the last one is among them
    points = ' '.join(f'{x(epochs[i]):.1f},{y(values[i]):.1f}' for i in kept)
    nth, hint = rows.index(record.cell.row), escape(record.cell.row)
    if len(kept) == 1:
        left, high = points.split(',')
        drawn = mark(0, float(left), float(high), _kind(nth), record.cell.row)
    else:
        drawn = f'<polyline points="{points}" class="curve {_kind(nth)}"{_dash(nth)}><title>{hint}</title></polyline>'
    return element('g', drawn, data_row=record.cell.row)


def _kind(nth: int) -> str:
    return f's{nth % COLOURS}'


def _dash(nth: int) -> str:
    dash = DASHES[nth % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ''


def _legend(rows: Sequence[str]) -> str:
    """A short piece of every line with its name."""
    items = ''.join(
        f'<li data-row="{escape(row)}"><svg width="28" height="8" aria-hidden="true"><line x1="0" y1="4" x2="28" '
        f'y2="4" class="curve {_kind(nth)}"{_dash(nth)}/></svg>{escape(row)}</li>'
        for nth, row in enumerate(rows)
    )
    return f'<ul class="legend">{items}</ul>\n'
