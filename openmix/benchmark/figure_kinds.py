"""Draw one panel of a figure, by its kind: bars, lines, a heat map, curves or a scatter plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from openmix.benchmark.claims import matches
from openmix.benchmark.curves import mean_curve
from openmix.benchmark.figure_panels import Panel
from openmix.benchmark.records import Record
from openmix.figure_style import COLOURS, HATCHES, look
from openmix.metrics import with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def named(records: Sequence[Record]) -> tuple[list[str], list[str], dict[tuple[str, str], Record]]:
    """Return the rows and the columns of records, and the records by both."""
    rows = list(dict.fromkeys(record.cell.row for record in records))
    columns = list(dict.fromkeys(record.cell.column for record in records))
    return rows, columns, {(record.cell.row, record.cell.column): record for record in records}


def _short(names: Sequence[str]) -> list[str]:
    """Leave out of names what all of them begin with, up to a ' / ' or ' = '."""
    short = list(names)
    for sign in (' / ', ' = '):
        heads = {name.rpartition(sign)[0] for name in short}
        if len(heads) == 1 and len(short) > 1:
            short = [name.rpartition(sign)[2] for name in short]
    return short


def _head(names: Sequence[str]) -> str:
    """Return what the names of a grid have in common before ' = ', such as 'η'; '' if they differ."""
    heads = {name.rpartition(' / ')[2].rpartition(' = ')[0] for name in names}
    return heads.pop() if len(heads) == 1 else ''


def _metric(panel: Panel, records: Sequence[Record]) -> str:
    metrics = {record.cell.metric for record in records}
    if panel.y or len(metrics) != 1:
        return panel.y or 'metric'
    return with_unit(metrics.pop())


def _of(record: Record | None) -> tuple[float, float]:
    """Return mean and standard deviation of a cell; nan where it has none."""
    if record is None or record.mean is None:
        return math.nan, math.nan
    return record.mean, math.nan if record.std is None else record.std


def _bars(ax: Axes, panel: Panel, records: Sequence[Record]) -> None:
    rows, columns, at = named(records)
    width = 0.8 / len(columns)
    for i, (column, name) in enumerate(zip(columns, _short(columns), strict=True)):
        places = [r + (i - (len(columns) - 1) / 2) * width for r in range(len(rows))]
        means, spreads = zip(*(_of(at.get((row, column))) for row in rows), strict=True)
        hatch = HATCHES[i % len(HATCHES)]
        ax.bar(
            places, means, width, yerr=spreads, label=name, color=COLOURS[i % len(COLOURS)], hatch=hatch,
            edgecolor='white', error_kw={'elinewidth': 0.8, 'capsize': 2},
        )  # fmt: skip
        printed = [at[row, column].cell.published if (row, column) in at else None for row in rows]
        _printed(
            ax, [(x, y) for x, y in zip(places, printed, strict=True) if y is not None], 'published' if i == 0 else ''
        )
    ax.grid(visible=False, axis='x')
    ax.set_xlim(-0.5, len(rows) - 0.5)
    _close_to(ax, records)
    ax.set_xticks(
        range(len(rows)), rows, rotation=25 if len(rows) > 3 else 0, ha='right' if len(rows) > 3 else 'center'
    )
    ax.set_ylabel(_metric(panel, records))
    ax.set_xlabel(panel.x)
    if len(columns) > 1:
        ax.legend()


def _close_to(ax: Axes, records: Sequence[Record]) -> None:
    """Begin the vertical axis of bars near the lowest value, where methods differ; zero is far below."""
    values = [value for record in records for value in record.values]
    values += [record.cell.published for record in records if record.cell.published is not None]
    if not values:
        return
    low, high = min(values), max(values)
    if low > 0 and (gap := max(high - low, 0.02 * high)) < low:
        ax.set_ylim(low - 0.4 * gap, high + 0.3 * gap)
    elif low >= 0 < high:
        ax.set_ylim(0, 1.25 * high)  # the legend stands above the bars


def _printed(ax: Axes, points: Sequence[tuple[float, float]], label: str) -> None:
    if points:
        x, y = zip(*points, strict=True)
        ax.scatter(x, y, marker='_', s=60, color='black', zorder=3, label=label or None)


def _lines(ax: Axes, panel: Panel, records: Sequence[Record]) -> None:
    rows, columns, at = named(records)
    along, lines = (columns, rows) if panel.over == 'columns' else (rows, columns)
    for i, line in enumerate(lines):
        cells = [at.get((line, name) if panel.over == 'columns' else (name, line)) for name in along]
        if all(cell is None for cell in cells):
            continue
        means, spreads = zip(*map(_of, cells), strict=True)
        ax.errorbar(range(len(along)), means, yerr=spreads, label=line, capsize=2, **look(i))
    ax.set_xticks(range(len(along)), _short(along))
    ax.set_xlabel(panel.x or _head(along))
    ax.set_ylabel(_metric(panel, records))
    if len(lines) > 1:
        ax.legend()


def _heat_map(ax: Axes, panel: Panel, records: Sequence[Record]) -> None:
    rows, columns, at = named(records)
    means = [[_of(at.get((row, column)))[0] for column in columns] for row in rows]
    image = ax.imshow(means, cmap='cividis', aspect='auto')
    low, high = image.get_clim()
    for r, of_row in enumerate(means):
        for c, value in enumerate(of_row):
            dark = math.isfinite(value) and value < (low + high) / 2
            text = f'{value:.1f}' if math.isfinite(value) else '–'
            ax.text(c, r, text, ha='center', va='center', color='white' if dark else 'black')
    ax.grid(visible=False)
    ax.set_xticks(range(len(columns)), _short(columns), rotation=25, ha='right')
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)
    assert ax.figure is not None
    ax.figure.colorbar(image, ax=ax, label=_metric(Panel(), records))


def _curves(ax: Axes, panel: Panel, records: Sequence[Record]) -> None:
    rows, columns, _ = named(records)
    # A name that all cells share says nothing.
    shown = [([r.cell.row] if len(rows) > 1 else []) + ([r.cell.column] if len(columns) > 1 else []) for r in records]
    names = _short([' / '.join(parts) or record.cell.name for parts, record in zip(shown, records, strict=True)])
    units = set()
    for i, (record, name) in enumerate(zip(records, names, strict=True)):
        curve = mean_curve(record)
        if not curve.at:
            continue
        units.add(curve.unit)
        shown_as = look(i)
        ax.plot(curve.at, curve.values, label=name, color=shown_as['color'], linestyle=shown_as['linestyle'])
        if len(record.results) > 1:
            ax.fill_between(curve.at, curve.lowest, curve.highest, color=shown_as['color'], alpha=0.15, linewidth=0)
    ax.set_xlabel(panel.x or ' or '.join(sorted(units)))
    ax.set_ylabel(_metric(panel, records))
    if units:
        ax.legend()


def _scatter(ax: Axes, panel: Panel, records: Sequence[Record]) -> None:
    rows, columns, at = named(records)
    across, up = sorted(columns, key=lambda column: [matches(column, [glob]) for glob in panel.columns], reverse=True)
    for i, row in enumerate(rows):
        (x, dx), (y, dy) = _of(at.get((row, across))), _of(at.get((row, up)))
        if math.isfinite(x) and math.isfinite(y):
            # Names beside the points would lie on each other where methods are alike.
            ax.errorbar([x], [y], xerr=[dx], yerr=[dy], capsize=2, label=row, **look(i) | {'linestyle': ''})
    ax.set_xlabel(panel.x or across)
    ax.set_ylabel(panel.y or up)
    if ax.containers:
        ax.legend(loc='center left', bbox_to_anchor=(1, 0.5))


DRAW: dict[str, Callable[[Any, Panel, Sequence[Record]], None]] = {
    'bars': _bars,
    'lines': _lines,
    'heat map': _heat_map,
    'curves': _curves,
    'scatter': _scatter,
}
