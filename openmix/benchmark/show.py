"""Show what was measured of tables: on a terminal, as text, or into a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from openmix.benchmark import render
from openmix.benchmark.as_data import as_csv, as_dicts, as_json
from openmix.benchmark.cell import Cell
from openmix.benchmark.chain import WEIGHTS
from openmix.benchmark.folders import layout
from openmix.benchmark.merge import check_fits_table
from openmix.benchmark.records import Record, read_records
from openmix.benchmark.report import as_text
from openmix.benchmark.submission import Submission
from openmix.benchmark.table import Table, default_work_dir, load_table, table_names
from openmix.benchmark.text_table import as_plain, text_table
from openmix.benchmark.trials import trials_of
from openmix.errors import InputError
from openmix.files import write_text

_OF_ALL = ('terminal', 'md', 'json', 'csv', 'latex')


def write(text: str, out: Path | None) -> None:
    """Write a text to a file and print its path; None: to stdout.

    Raises:
        InputError: the file cannot be written.
    """
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    except OSError as error:
        raise InputError(f'--out: cannot write to {error.filename or out}: {error.strerror}') from error
    print(out)


def show(found: RenderableType, console: Console) -> None:
    """Print in the width of a terminal; to a file or pipe, print without colours, trailing blanks and line breaks."""
    if console.is_terminal:
        console.print(found)
    else:
        sys.stdout.write(as_plain(found))


def records_of(
    table: Table,
    cells: Sequence[Cell] | None = None,
    work_dir: Path | None = None,
    trials: int | None = None,
    imports: Sequence[Path] = (),
    weights: Path | None = None,
    submissions: Sequence[Submission] = (),
) -> list[Record]:
    """Read the records of cells; the recipe of a cell that never ran is not resolved, which saves time.

    Args:
        cells: the cells; None: all of the table.
        work_dir: the work folder; None: the table's default.
        trials: number of trials per cell; None: by the table.
        imports: work folders of other people.
        weights: folder of earlier stages; None: the one that all tables share.
        submissions: submissions of other people.

    Raises:
        InputError: a submission does not fit the table, see `check_fits_table`.
    """
    cells, work_dir = cells or table.cells, work_dir or default_work_dir(table)
    ours, *others = [(folder, layout(table.cells, folder)) for folder in (work_dir, *imports)]
    check_fits_table(table, cells, submissions)
    submitted = {run.place for one in submissions for run in one.runs}
    weights = weights or WEIGHTS
    staged = weights.is_dir()  # a cell whose earlier stage failed has no folder of its own
    ran = [
        cell
        for cell in cells
        if (staged and cell.implemented and cell.earlier is not None)
        or cell.folder in submitted
        or any((folder / place.of(cell)).is_dir() for folder, place in (ours, *others))
    ]
    return read_records(cells, trials_of(table, ran, work_dir, trials, weights), others, submissions)


def list_tables(console: Console) -> None:
    """Print the shipped tables with the numbers of their cells and trials."""
    heads, lines = ['table', 'cells', 'implemented', 'published', 'done', 'trials'], []
    # A narrow terminal has no room for titles beside the names, which must not be cut.
    wide = not console.is_terminal or console.width >= 160
    for name in table_names():
        table = load_table(name)
        counts = (
            len(table.cells),
            sum(cell.implemented for cell in table.cells),
            sum(cell.published is not None for cell in table.cells),
            sum(record.state == 'done' for record in records_of(table)),
            table.trials,
        )
        lines.append([name, *map(str, counts), *([table.title, table.source] if wide else [])])
    show(text_table([*heads, *(['title', 'source'] if wide else [])], lines), console)


def show_all(args: argparse.Namespace, console: Console) -> None:
    """Show the numbers of all shipped tables, in the format of `--format`.

    Raises:
        InputError: an option or the format needs a table.
    """
    for option in ('rows', 'columns', 'trials', 'work_dir', 'weights_dir', 'cfg_options', 'steps'):
        if getattr(args, option) is not None:
            raise InputError(f'--{option.replace("_", "-")} needs a table; valid: {", ".join(table_names())}')
    if args.format not in _OF_ALL:
        raise InputError(f'--format {args.format} needs a table; of all tables: {", ".join(_OF_ALL)}')
    tables = [load_table(name).as_variant(args.variant) for name in table_names()]
    found = [(table, records_of(table)) for table in tables]
    if args.format == 'terminal' and args.out is None:
        for table, records in found:
            show(render.terminal(table, records, False, console.width), console)
    elif args.format in ('json', 'csv'):
        rows = [{'table': table.name, **row} for table, records in found for row in as_dicts(records)]
        write(as_json(rows) if args.format == 'json' else as_csv(rows), args.out)
    else:
        root = args.out.parent if args.out else Path()
        write('\n'.join(as_text(table, records, args.format, root) for table, records in found), args.out)
