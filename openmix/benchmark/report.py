"""Write a table's records in every format, and the files of its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openmix.benchmark.as_data import as_csv, as_dicts, as_json, report
from openmix.benchmark.latex import latex
from openmix.benchmark.markdown import markdown
from openmix.benchmark.model_index import model_index
from openmix.benchmark.page import page
from openmix.benchmark.pictures import Picture
from openmix.benchmark.records import Record
from openmix.benchmark.render import terminal
from openmix.benchmark.table import Table
from openmix.benchmark.text_table import as_plain
from openmix.errors import InputError
from openmix.files import write_text

FORMATS = ('terminal', 'md', 'json', 'csv', 'latex', 'html', 'hf')


def as_text(
    table: Table,
    records: Sequence[Record],
    form: str,
    root: Path,
    full: bool = False,
    pictures: Sequence[Picture] = (),
) -> str:
    """Write the leaderboard in one of `FORMATS`.

    Args:
        table: the table.
        records: its records.
        form: the format.
        root: folder of the output; links are relative to it.
        full: add gains and claims in the formats 'terminal' and 'json'.
        pictures: figures of mixed batches, for HTML.
    """
    if form == 'html':
        return page(table, records, root, pictures)
    if form == 'terminal':
        return as_plain(terminal(table, records, full))
    if form == 'md':
        return markdown(table, records, root)
    if form == 'latex':
        return latex(table, records)
    if form == 'hf':
        return model_index(table, records)
    if form == 'json':
        return as_json(report(table, records) if full else as_dicts(records))
    return as_csv(as_dicts(records))


def write_report(
    table: Table, records: Sequence[Record], work_dir: Path, pictures: Sequence[Picture] = ()
) -> tuple[Path, Path]:
    """Write both files into the table's work folder and return their paths.

    Args:
        table: the table.
        records: its records.
        work_dir: the table's work folder.
        pictures: figures of mixed batches, see `draw_pictures`.

    Raises:
        InputError: the folder is not writable.
    """
    html, text = work_dir / 'report.html', work_dir / 'report.md'
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        write_text(html, page(table, records, work_dir, pictures))
        write_text(text, markdown(table, records, work_dir))
    except OSError as error:
        raise InputError(f'cannot write to {error.filename or work_dir}: {error.strerror}') from error
    return html, text
