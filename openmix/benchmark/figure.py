"""Draw a table as a figure: PNG and SVG with the data as CSV, from the results that are there."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmix.benchmark.claims import matches
from openmix.benchmark.curves import mean_curve
from openmix.benchmark.evaluations import column_of
from openmix.benchmark.figure_panels import Panel
from openmix.benchmark.records import Record
from openmix.benchmark.table import Table
from openmix.errors import InputError
from openmix.figure_style import COLOURS, HATCHES, STYLE, look, save
from openmix.files import write_text
from openmix.metrics import with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILES = ('figure.png', 'figure.svg', 'figure.csv')
_WIDTH, _HEIGHT = 4.2, 3.2  # inches of a panel
_WIDEST = 13.0  # inches of panels side by side, unless one alone is wider
_GAP = 0.5  # inches below which the rest of a line is shared among its panels


def write_figure(table: Table, records: Sequence[Record], out: Path, to_train: str) -> list[Path]:
    """Write `figure.png`, `figure.svg` and `figure.csv` into a folder and return their paths.

    Args:
        table: the table, whose `figure` has the panels.
        records: records of its chosen cells.
        out: the folder.
        to_train: command that trains the cells, for the message.

    Raises:
        InputError: no cell has a result, or a file cannot be written.
    """
    panels = [(panel, shown) for panel in _panels(table, records) if (shown := _shown(panel, records))]
    if not any(record.values for _, shown in panels for record in shown):
        some = any(record.cell.implemented for record in records)
        remedy = f'train them: {to_train}' if some else 'none of them is implemented yet'
        raise InputError(f"table '{table.name}': none of the {len(records)} points has a result; {remedy}")
    for panel, shown in panels:
        if panel.kind == 'scatter' and len({record.cell.column for record in shown}) != 2:
            raise InputError(f"table '{table.name}': a scatter plot needs both of its columns; choose them too")
    # Imported here, because it takes a second.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in FILES]
    with rc_context(STYLE):
        widths = [_width(panel, shown) for panel, shown in panels]
        lines = side_by_side(widths)
        widest = max(sum(widths[i] for i in line) for line in lines)
        figure = Figure(figsize=(widest, _HEIGHT * len(lines)), layout='constrained')
        FigureCanvasAgg(figure)
        for part, line in zip(figure.subfigures(len(lines), 1, squeeze=False)[:, 0], lines, strict=True):
            # What is left of a line stays empty, so that panels of one kind are equally wide.
            given = [widths[i] for i in line]
            rest = [widest - sum(given)] if widest - sum(given) > _GAP else []
            axes = part.subplots(1, len(given + rest), squeeze=False, width_ratios=given + rest)[0]
            for ax in axes[len(line) :]:
                ax.set_axis_off()
            for ax, i in zip(axes, line, strict=False):
                panel, shown = panels[i]
                _DRAW[panel.kind](ax, panel, shown)
                ax.set_title(panel.title)
        save(figure, paths[:2])
    write_text(paths[2], as_csv(panels))
    return paths


def side_by_side(widths: Sequence[float]) -> list[list[int]]:
    """Arrange panels of these widths, in inches, in lines of at most `_WIDEST`; return the indices of each line."""
    lines: list[list[int]] = [[]]
    for i, width in enumerate(widths):
        if lines[-1] and sum(widths[j] for j in lines[-1]) + width > _WIDEST:
            lines.append([])
        lines[-1].append(i)
    return lines


def missing(table: Table, records: Sequence[Record], to_train: str) -> list[str]:
    """List the points of the figure without a result, one line each, and the command that makes them.

    Args:
        table: the table.
        records: records of its chosen cells.
        to_train: the command.
    """
    shown = dict.fromkeys(
        record.cell.name + f': {record.status}'
        for panel in _panels(table, records)
        for record in records
        if panel.takes(record.cell) and not record.values
    )
    lines = [f'missing: {line}' for line in shown]
    if any(record.cell.implemented and not record.values for record in records):
        lines.append(f'to train what is missing: {to_train}')
    return lines


def as_csv(panels: Sequence[tuple[Panel, Sequence[Record]]]) -> str:
    """Write the points: one line per cell, or one per measurement over training in `curves`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['panel', 'row', 'column', 'metric', 'at', 'mean', 'std', 'trials', 'published', 'state'])
    for i, (panel, records) in enumerate(panels):
        name = panel.title or str(i)
        for record in records:
            cell = record.cell
            place = [name, cell.row, cell.column, cell.metric]
            curve = mean_curve(record) if panel.kind == 'curves' else None
            if curve is not None and curve.at:
                for at, value in zip(curve.at, curve.values, strict=True):
                    writer.writerow([*place, at, value, '', len(record.values), '', record.status])
            else:
                printed = '' if cell.published is None else cell.published
                numbers = ['' if value is None else value for value in (record.mean, record.std)]
                writer.writerow([*place, '', *numbers, len(record.values), printed, record.status])
    return text.getvalue()


def _panels(table: Table, records: Sequence[Record]) -> list[Panel]:
    """List the panels of a table, and bars of each measure of its evaluations."""
    measures = dict.fromkeys(record.cell.measure for record in records if record.cell.measure)
    return [*table.figure, *(Panel(title=measure, measure=measure) for measure in measures)]


def _shown(panel: Panel, records: Sequence[Record]) -> list[Record]:
    """Return the records of a panel; its title has the measure, so the names of columns are the table's again."""
    found = [record for record in records if panel.takes(record.cell)]
    if not panel.measure:
        return found
    names = [record.cell.column.removesuffix(column_of('', panel.measure)) for record in found]
    return [replace(one, cell=replace(one.cell, column=name)) for one, name in zip(found, names, strict=True)]


def _width(panel: Panel, records: Sequence[Record]) -> float:
    """Return the width of a panel in inches, which grows with the number of its bars or squares."""
    rows, columns, _ = _named(records)
    needed = {'bars': 0.14 * len(records) + 0.2 * len(rows), 'heat map': 0.55 * len(columns)}
    return max(_WIDTH, 1 + needed.get(panel.kind, 0))


def _named(records: Sequence[Record]) -> tuple[list[str], list[str], dict[tuple[str, str], Record]]:
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
    rows, columns, at = _named(records)
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
    rows, columns, at = _named(records)
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
    rows, columns, at = _named(records)
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
    rows, columns, _ = _named(records)
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
            low, high = _band(record, curve.at)
            ax.fill_between(curve.at, low, high, color=shown_as['color'], alpha=0.15, linewidth=0)
    ax.set_xlabel(panel.x or ' or '.join(sorted(units)))
    ax.set_ylabel(_metric(panel, records))
    if units:
        ax.legend()


def _band(record: Record, at: Sequence[int]) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest value over the trials at each place of a curve."""
    key = 'epoch' if mean_curve(record).unit == 'epoch' else 'iter'
    values: dict[int, list[float]] = {place: [] for place in at}
    for result in record.results:
        for row in result.history:
            value = row.get(record.cell.metric, math.nan)
            if key in row and int(row[key]) in values and math.isfinite(value):
                values[int(row[key])].append(value)
    return [min(values[place]) for place in at], [max(values[place]) for place in at]


def _scatter(ax: Axes, panel: Panel, records: Sequence[Record]) -> None:
    rows, columns, at = _named(records)
    across, up = sorted(columns, key=lambda column: [matches(column, [glob]) for glob in panel.columns], reverse=True)
    for i, row in enumerate(rows):
        (x, dx), (y, dy) = _of(at.get((row, across))), _of(at.get((row, up)))
        if math.isfinite(x) and math.isfinite(y):
            ax.errorbar([x], [y], xerr=[dx], yerr=[dy], capsize=2, **look(i) | {'linestyle': ''})
            ax.annotate(row, (x, y), xytext=(4, 4), textcoords='offset points', fontsize=7)
    ax.set_xlabel(panel.x or across)
    ax.set_ylabel(panel.y or up)


_DRAW: dict[str, Callable[[Any, Panel, Sequence[Record]], None]] = {
    'bars': _bars,
    'lines': _lines,
    'heat map': _heat_map,
    'curves': _curves,
    'scatter': _scatter,
}
