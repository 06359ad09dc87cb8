"""Curves over training, of the metric and of diagnostics: one panel per column, one line per method."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from openmix.benchmark.escape import html as escape
from openmix.benchmark.facets import facets, without_loss
from openmix.benchmark.length import UNITS, row_key, unit_of
from openmix.benchmark.markup import element
from openmix.benchmark.panels import COLOURS, DASHES, WIDTH, Scale, axes, mark, panel, panels, scale
from openmix.benchmark.records import Record
from openmix.benchmark.table import Table
from openmix.metrics import is_diagnostic, with_unit

_MOST_POINTS = 60  # largest number of points per line; more would not be visible on a phone
_MOST_BANDS = 6  # of a panel; the bands of more curves are seen one at a time
_MOST_HINTS = 10  # of them with a value to read


class Curve(NamedTuple):
    """A number of a record over training.

    Attributes:
        metric: name of the number in the history of a run.
        unit: 'epoch' or 'iteration'.
        at: epochs or iterations at which the values were measured.
        values: means over the finished trials.
        lowest, highest: over the trials that were measured there.
    """

    record: Record
    metric: str
    unit: str
    at: list[int]
    values: list[float]
    lowest: list[float]
    highest: list[float]


def mean_curve(record: Record, metric: str = '') -> Curve:
    """Compute the mean curve of a number over the finished trials; values that are not finite are left out.

    Args:
        record: the record.
        metric: name of the number; '' is the metric of the record's cell.
    """
    metric = metric or record.cell.metric
    unit = unit_of([trial.length for trial in record.finished])
    values: dict[int, list[float]] = defaultdict(list)
    for result in record.results:
        for row in result.history:
            if row_key(unit) in row and math.isfinite(row.get(metric, math.nan)):
                values[int(row[row_key(unit)])].append(row[metric])
    at = sorted(values)
    means, lowest, highest = ([of(values[each]) for each in at] for of in (statistics.fmean, min, max))
    return Curve(record, metric, unit, at, means, lowest, highest)


def draw_curves(table: Table, records: Sequence[Record]) -> str:
    """Draw the panels with their legend; '' if no run has a curve.

    Columns that differ only in the loss have the same axes. Training by epoch and by iteration is drawn in separate
    panels.
    """
    curves = [curve for curve in map(mean_curve, records) if curve.at]
    if not curves:
        return ''
    parts = facets([record.cell for record in records])
    groups: dict[tuple[str, str, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        groups[without_loss(curve.record.cell.column, parts), curve.metric, curve.unit].append(curve)
    frames = {id(curve): _frame(group) for group in groups.values() for curve in group}
    return _draw(table, curves, frames, _trained(table, records))


def draw_diagnostics(table: Table, records: Sequence[Record]) -> str:
    """Draw the diagnostics that algorithms record beside their losses; '' if no run has one.

    A diagnostic has a panel for each column, from its lowest to its highest value in all columns.
    """
    trained = {record.cell.folder: record for record in reversed(records)}.values()
    names = sorted({name for record in trained for name in _diagnostics(record)})
    found = []
    for name in names:
        curves = [curve for record in reversed(trained) if (curve := mean_curve(record, name)).at]
        if curves:
            frames = {id(curve): _frame(curves) for curve in curves}
            found.append(_draw(table, curves, frames, _trained(table, records), name))
    return ''.join(found)


def _diagnostics(record: Record) -> set[str]:
    """Return the names of a record's diagnostics."""
    return {name for result in record.results for row in result.history for name in row if is_diagnostic(name)}


def _trained(table: Table, records: Sequence[Record]) -> list[str]:
    """Return the rows with finished trials, whose places choose the colours in all panels."""
    return [row for row in table.rows if any(record.cell.row == row and record.results for record in records)]


def _draw(
    table: Table,
    curves: Sequence[Curve],
    frames: Mapping[int, tuple[Scale, Scale]],
    rows: Sequence[str],
    diagnostic: str = '',
) -> str:
    """Draw curves with their legend, a panel for each column and unit."""
    by_column: dict[tuple[str, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        by_column[curve.record.cell.column, curve.unit].append(curve)
    columns = [by_column[key] for column in table.columns for unit in UNITS if (key := (column, unit)) in by_column]
    drawn = [_panel(group, rows, *frames[id(group[0])], diagnostic) for group in columns]
    shown = {rows.index(curve.record.cell.row): curve.record.cell.row for curve in curves}
    return _legend(dict(sorted(shown.items()))) + panels(drawn)


def _across(curves: Sequence[Curve]) -> Scale:
    return Scale(0, max(curve.at[-1] for curve in curves), 44, WIDTH - 8)


def _frame(curves: Sequence[Curve]) -> tuple[Scale, Scale]:
    return _across(curves), scale([value for curve in curves for value in (*curve.lowest, *curve.highest)], 222, 8)


def _panel(curves: Sequence[Curve], rows: Sequence[str], x: Scale, y: Scale, diagnostic: str) -> str:
    cell, metric, unit = curves[0].record.cell, curves[0].metric, curves[0].unit
    lines = ''.join(_line(curve, rows, x, y) for curve in curves)
    kind = 'many' if len(curves) > _MOST_BANDS else ''
    body = ''.join(axes(x, y, f'{unit}s', with_unit(metric))) + element('g', lines, class_=kind)
    says = '; '.join(f'{curve.record.cell.row} ends at {curve.values[-1]:.2f}' for curve in curves)
    title = f'{cell.column}: {diagnostic}' if diagnostic else cell.column
    return panel(title, 262, body, f'{metric} over {unit}s. {says}', cell.column)


def _line(curve: Curve, rows: Sequence[str], x: Scale, y: Scale) -> str:
    row, at, values = curve.record.cell.row, curve.at, curve.values
    step = -(-len(at) // _MOST_POINTS)
    kept = range((len(at) - 1) % step, len(at), step)  # the last one is among them
    points = ' '.join(f'{x(at[i]):.1f},{y(values[i]):.1f}' for i in kept)
    nth = rows.index(row)
    if len(kept) == 1:
        left, high = points.split(',')
        drawn = mark(0, float(left), float(high), _kind(nth), row)
    else:
        drawn = _band(curve, kept, x, y, nth)
        drawn += f'<polyline points="{points}" class="curve {_kind(nth)}"{_dash(nth)}/>'
        drawn += ''.join(_hover(curve, i, x, y) for i in kept[:: -(-len(kept) // _MOST_HINTS)])
    return element('g', drawn, data_row=row)


def _band(curve: Curve, kept: Sequence[int], x: Scale, y: Scale, nth: int) -> str:
    """Draw the lowest to the highest value over the trials; '' for a single trial."""
    if curve.lowest == curve.highest:
        return ''
    there = [f'{x(curve.at[i]):.1f},{y(curve.highest[i]):.1f}' for i in kept]
    back = [f'{x(curve.at[i]):.1f},{y(curve.lowest[i]):.1f}' for i in reversed(kept)]
    return f'<polygon points="{" ".join(there + back)}" class="seeds {_kind(nth)}"/>'


def _hover(curve: Curve, i: int, x: Scale, y: Scale) -> str:
    """Draw a place of a curve that is seen while the pointer is on it, with its value."""
    spread = '' if curve.lowest[i] == curve.highest[i] else f' ({curve.lowest[i]:.2f} to {curve.highest[i]:.2f})'
    hint = f'{curve.record.cell.row}, {curve.unit} {curve.at[i]}: {curve.values[i]:.2f}{spread}'
    where = f'cx="{x(curve.at[i]):.1f}" cy="{y(curve.values[i]):.1f}"'
    return f'<circle {where} r="5" class="here"><title>{escape(hint)}</title></circle>'


def _kind(nth: int) -> str:
    return f's{nth % COLOURS}'


def _dash(nth: int) -> str:
    dash = DASHES[nth % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ''


def _legend(rows: Mapping[int, str]) -> str:
    """Draw the legend: a short piece of every line with its name; rows by the number of their colour."""
    items = ''.join(
        f'<li data-row="{escape(row)}"><svg width="28" height="8" aria-hidden="true"><line x1="0" y1="4" x2="28" '
        f'y2="4" class="curve {_kind(nth)}"{_dash(nth)}/></svg>{escape(row)}</li>'
        for nth, row in rows.items()
    )
    return f'<ul class="legend">{items}</ul>\n'
