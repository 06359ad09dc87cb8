"""The report of a table: `report.html` and `report.md`, written from what its folders hold."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from openmix.benchmark.curves import draw_curves
from openmix.benchmark.page import page
from openmix.benchmark.pictures import draw_pictures
from openmix.benchmark.records import Record
from openmix.benchmark.render import as_csv, as_json, markdown, terminal
from openmix.benchmark.table import Table
from openmix.files import write_text

FORMATS = ('terminal', 'md', 'json', 'csv', 'html')
_WIDTH = 200


def as_text(table: Table, records: Sequence[Record], form: str, work_dir: Path) -> str:
    """The leaderboard in one of `FORMATS`, without pictures; links in HTML are relative to `work_dir`."""
    if form == 'html':
        return page(table, records, draw_curves(records, table.metric), [], work_dir)
    if form == 'terminal':
        text = StringIO()
        Console(file=text, width=_WIDTH).print(terminal(table, records))
        return text.getvalue()
    if form == 'md':
        return markdown(table, records)
    return as_json(records) if form == 'json' else as_csv(records)


def write_report(
    table: Table, records: Sequence[Record], work_dir: Path, picture_script: Path | None = None
) -> tuple[Path, Path]:
    """Write both files into the table's work folder and return their paths.

    Args:
        picture_script: see `draw_pictures`.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    html, text = work_dir / 'report.html', work_dir / 'report.md'
    curves, pictures = draw_curves(records, table.metric), draw_pictures(records, work_dir, picture_script)
    write_text(html, page(table, records, curves, pictures, work_dir))
    write_text(text, markdown(table, records))
    return html, text
