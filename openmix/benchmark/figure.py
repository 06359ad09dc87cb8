"""Draw a table as a figure: PNG and SVG with the data as CSV, from the results that are there."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from openmix.benchmark.curves import mean_curve
from openmix.benchmark.evaluations import column_of
from openmix.benchmark.figure_kinds import DRAW, named
from openmix.benchmark.figure_panels import Panel
from openmix.benchmark.records import Record
from openmix.benchmark.table import Table
from openmix.csv_text import field
from openmix.errors import InputError
from openmix.figure_style import STYLE, save
from openmix.files import write_text

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
        # What has no result is listed as missing, not drawn as an empty panel.
        drawn = [(panel, shown) for panel, shown in panels if any(record.values for record in shown)]
        widths = [_width(panel, shown) for panel, shown in drawn]
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
                panel, shown = drawn[i]
                DRAW[panel.kind](ax, panel, shown)
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
                    line = [*place, at, value, '', len(record.values), '', record.status]
                    writer.writerow(map(field, line))
            else:
                printed = '' if cell.published is None else cell.published
                numbers = ['' if value is None else value for value in (record.mean, record.std)]
                writer.writerow(map(field, [*place, '', *numbers, len(record.values), printed, record.status]))
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
    rows, columns, _ = named(records)
    needed = {'bars': 0.14 * len(records) + 0.2 * len(rows), 'heat map': 0.55 * len(columns), 'scatter': 4.5}
    return max(_WIDTH, 1 + needed.get(panel.kind, 0))
