"""The verbs of `tools/benchmark.py` that write what is measured: `report` and `show`, `figure`, `submit`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from openmix.arguments import check_out
from openmix.benchmark import render
from openmix.benchmark.cell import Cell
from openmix.benchmark.chain import WEIGHTS
from openmix.benchmark.escape import terminal
from openmix.benchmark.evaluations import to_evaluate, with_evaluations
from openmix.benchmark.figure import FILES, missing, write_figure
from openmix.benchmark.merge import read_imports
from openmix.benchmark.pack import pack
from openmix.benchmark.pictures import draw_pictures
from openmix.benchmark.report import as_text, write_report
from openmix.benchmark.same_choice import same_choice
from openmix.benchmark.show import records_of, show, write
from openmix.benchmark.table import Table
from openmix.benchmark.trials import distinct, trials_of
from openmix.errors import InputError
from openmix.shipped import tools_path

# Formats without the numbers of others.
_OURS_ALONE = ('csv', 'latex', 'hf')


def report_table(
    table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace, console: Console
) -> int:
    """Print or write the numbers in the asked format; of `report` with its files."""
    full = args.verb == 'report'
    folders, submissions = read_imports(args.imports if full else (), work_dir)
    records = records_of(table, cells, work_dir, args.trials, folders, args.weights_dir, submissions)
    pictures = []
    if full and args.pictures:
        print('drawing a mixed batch of every row', file=sys.stderr)
        pictures = draw_pictures(records, work_dir, tools_path('show_mix.py'))
        for picture in pictures:
            if picture.why_not:
                print(f'no picture of {terminal(picture.row)}: {picture.why_not}', file=sys.stderr)
    records = with_evaluations(records)
    paths = write_report(table, records, work_dir, pictures) if full else ()
    if (folders or submissions) and args.format in _OURS_ALONE:
        print(f'note: {args.format} has our numbers alone; json, md and html have the others', file=sys.stderr)
    if args.format == 'terminal' and args.out is None:
        show(render.terminal(table, records, full, console.width), console)
    else:
        # Links in printed text are relative to the current folder, links in HTML to the table's folder.
        here = work_dir if args.format == 'html' else Path()
        root = args.out.parent if args.out else here
        write(as_text(table, records, args.format, root, full, pictures), args.out)
    if full:
        # stdout may hold JSON or CSV.
        print(*paths, sep='\n', file=sys.stdout if args.format == 'terminal' else sys.stderr)
    return 0


def figure_table(table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace) -> int:
    """Draw the numbers, and say which are missing."""
    out = args.out or work_dir
    for name in FILES:
        check_out('--out', out / name)
    records = with_evaluations(records_of(table, cells, work_dir, args.trials, (), args.weights_dir))
    to_train = same_choice('run', sys.argv[2:])
    drawn = write_figure(table, records, out, to_train)
    for line in missing(table, records, to_train):
        print(line, file=sys.stderr)
    for options in to_evaluate(records):
        print(f'to evaluate what is trained: {same_choice("evaluate", sys.argv[2:], (), options)}', file=sys.stderr)
    print(*drawn, sep='\n')
    return 0


def submit_runs(
    table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace, commit: str | None
) -> int:
    """Pack the finished runs into a file, and say how many are not finished.

    Raises:
        InputError: the file has another suffix than .zip, or see `openmix.benchmark.pack.pack`.
    """
    if args.out.suffix != '.zip':
        raise InputError(f'--out: a submission is a .zip file, got {args.out}')
    trials = trials_of(table, cells, work_dir, args.trials, args.weights_dir or WEIGHTS)
    packed = pack(table, trials, args.out, args.name, args.note or '', commit)
    if left := len(distinct(trial for trial in trials if trial.kind == 'final')) - packed:
        print(f'{left} runs are not finished and left out', file=sys.stderr)
    print(f'{args.out}: {packed} runs')
    return 0
