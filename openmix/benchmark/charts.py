"""The charts of a table's page: differences from the published numbers, and accuracy against training time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from openmix.benchmark.facets import Facet, facets, loss_of, without_loss
from openmix.benchmark.markup import element
from openmix.benchmark.panels import (
    COLOURS,
    WIDTH,
    Scale,
    axes,
    beside,
    line,
    mark,
    panel,
    panels,
    scale,
    short,
    text,
    ticks,
    width_of,
)
from openmix.benchmark.records import Record
from openmix.benchmark.render import signed
from openmix.benchmark.statistics import LEAST_TOLERANCE, agreement, difference
from openmix.benchmark.table import Table
from openmix.metrics import with_unit

_LINE = 20  # height of a row of the difference chart
_LEAST_RATIO = 1.15  # of the longest to the shortest training of a chart of times
_SHAPES = {'agrees': 0, 'better': 2, 'worse': 3, '': 1}
_UNITS = ((3600, 'hours'), (60, 'minutes'), (1, 'seconds'))


def difference_chart(table: Table, records: Sequence[Record]) -> str:
    """Draw measured minus published numbers: a panel per column, a line per method, with one standard deviation."""
    known = [record for record in records if difference(record) is not None]
    if not known:
        return ''
    left = 8 + max(width_of(short(record.cell.row)) for record in known)
    ends = [(difference(record) or 0.0, record.std or 0.0) for record in known]
    low, high = min(off - std for off, std in ends), max(off + std for off, std in ends)
    axis = scale([*(-LEAST_TOLERANCE, LEAST_TOLERANCE), low, high], left + 6, WIDTH - 44)
    by_column = {column: [r for r in known if r.cell.column == column] for column in table.columns}
    return panels([_differences(column, found, axis) for column, found in by_column.items() if found])


def _differences(column: str, records: Sequence[Record], axis: Scale) -> str:
    bottom = 8 + _LINE * len(records)
    band = axis(-LEAST_TOLERANCE), axis(LEAST_TOLERANCE)
    drawn = [f'<rect x="{band[0]:.1f}" y="4" width="{band[1] - band[0]:.1f}" height="{bottom - 4}" class="band"/>']
    for value, words in ticks(axis, 4):
        drawn.append(line(axis(value), 4, axis(value), bottom, 'zero' if value == 0 else 'grid'))
        drawn.append(text(axis(value), bottom + 14, words, 'middle', 'soft'))
    for i, record in enumerate(records):
        off, std, y = difference(record) or 0.0, record.std or 0.0, 8 + _LINE * (i + 0.5)
        spread = f' ± {std:.2f}' if record.std is not None else ''
        found = agreement(record)
        hint = f'{record.cell.row}: {signed(off)}{spread}, {found or "one trial"}'
        bar = line(axis(off - std), y, axis(off + std), y, f'bar {found}') if std else ''
        number = text(WIDTH - 2, y + 4, signed(off), 'end', found)
        point = mark(_SHAPES[found], axis(off), y, found, hint)
        drawn.append(
            element('g', text(0, y + 4, short(record.cell.row)) + bar + point + number, data_row=record.cell.row)
        )
    says = '; '.join(f'{r.cell.row} {signed(difference(r))} {agreement(r) or "one trial"}' for r in records)
    return panel(column, bottom + 18, ''.join(drawn), f'Ours minus published. {says}', column)


def seconds(record: Record) -> float | None:
    """Compute the mean training time in seconds over the finished trials that record it; None if none does."""
    found = [result.duration_s for result in record.results if result.duration_s is not None]
    return statistics.fmean(found) if found else None


def time_chart(records: Sequence[Record]) -> str:
    """Draw the mean result against mean training time; columns that differ only in the loss share a panel.

    A panel whose times are all nearly the same would say nothing, and is left out.
    """
    trained = [r for r in records if r.mean is not None and seconds(r) and not r.cell.measure]
    known = [record for record in trained if not record.cell.metric.startswith('time/')]
    found = facets([record.cell for record in records])
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in known:
        groups.setdefault((without_loss(record.cell.column, found), record.cell.metric), []).append(record)
    drawn = [(name or metric, metric, group) for (name, metric), group in groups.items() if _differ(group)]
    return panels([_times(name, metric, group, found) for name, metric, group in drawn])


def _differ(records: Sequence[Record]) -> bool:
    times = [seconds(record) or 0.0 for record in records]
    return max(times) > _LEAST_RATIO * min(times)


def _times(name: str, metric: str, records: Sequence[Record], found: Sequence[Facet]) -> str:
    longest = max(seconds(record) or 0.0 for record in records)
    unit, word = next((each for each in _UNITS if longest >= each[0]), _UNITS[-1])
    columns = list(dict.fromkeys(record.cell.column for record in records))
    kinds = [columns.index(record.cell.column) for record in records]
    places = [((seconds(record) or 0.0) / unit, record.mean or 0.0) for record in records]
    x = scale([at[0] for at in places], 44, WIDTH - 8, 0.14)
    y = scale([at[1] for at in places], 222, 26 if len(columns) > 1 else 8)
    dots = [(x(time), y(value)) for time, value in places]
    labels = beside(dots, [short(record.cell.row) for record in records], (x.start, x.end))
    hints = [f'{r.cell.name}: {value:.2f} after {time:.2f} {word}' for r, (time, value) in zip(records, places)]
    drawn = axes(x, y, f'{word} of training', with_unit(metric))
    drawn += _legend(columns, found) if len(columns) > 1 else []
    for record, kind, dot, label, hint in zip(records, kinds, dots, labels, hints, strict=True):
        point = mark(kind, *dot, f's{kind % COLOURS}', hint)
        drawn.append(element('g', point + label, data_row=record.cell.row, data_column=record.cell.column))
    return panel(name, 262, ''.join(drawn), f'{metric} against training time. {"; ".join(hints)}')


def _legend(columns: Sequence[str], found: Sequence[Facet]) -> list[str]:
    """Draw the legend of the columns' marks in one line, with the part of their names that differs."""
    said, x = [], 48.0
    for kind, column in enumerate(columns):
        name = short(loss_of(column, found) or column)
        said.append(mark(kind, x, 10, f's{kind % COLOURS}') + text(x + 9, 14, name))
        x += 24 + width_of(name)
    return said
