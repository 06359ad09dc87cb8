"""Run a published table and print ours beside theirs: tools/benchmark.py VERB [TABLE] [options]."""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from openmix.benchmark import render
from openmix.benchmark.records import default_work_dir, read_records, trials_of
from openmix.benchmark.report import FORMATS, as_text, write_report
from openmix.benchmark.run import Queue
from openmix.benchmark.table import load_table, table_names
from openmix.errors import command

VERBS = {
    'show': 'measured and published numbers',
    'plan': 'what run would do',
    'run': 'train what is not done, resume what was interrupted',
    'status': 'where every trial stands',
    'report': 'print the leaderboard, write report.html and report.md',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Run a published table and print ours beside theirs.')
    verbs = parser.add_subparsers(dest='verb', required=True)
    verbs.add_parser('list', help='the tables there are')
    config = verbs.add_parser('config', help='the resolved recipe of one cell')
    for name in ('table', 'row', 'column'):
        config.add_argument(name)
    config.add_argument('--out', type=Path, metavar='FILE', help='write it there instead of printing it')
    for verb, text in VERBS.items():
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument('table', help='a name below configs/tables, or a YAML file')
        sub.add_argument('--rows', metavar='GLOB', help="only these rows, such as 'Cut*'")
        sub.add_argument('--columns', metavar='GLOB', help='only these columns')
        sub.add_argument('--trials', type=int, metavar='N', help='trials a cell (default: as the table says)')
        folder = 'the folder of the table (default: work_dirs/tables/TABLE)'
        sub.add_argument('--work-dir', '--work_dir', type=Path, metavar='DIR', help=folder)
        if verb == 'run':
            sub.add_argument('--jobs', type=int, metavar='N', help='trainings at a time (default: one a GPU, else 1)')
        if verb in ('show', 'report'):
            sub.add_argument('--format', choices=FORMATS, default='terminal')
            sub.add_argument('--out', type=Path, metavar='FILE', help='write it there instead of printing it')
    return parser.parse_args()


def write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding='utf-8')
    print(out)


def list_tables(console: Console) -> None:
    grid = Grid('table', 'cells', 'trials', 'title', 'source')
    for name in table_names():
        table = load_table(name)
        grid.add_row(name, str(len(table.cells)), str(table.trials), escape(table.title), escape(table.source))
    console.print(grid)


def run_verb(args: argparse.Namespace, console: Console) -> int:
    table = load_table(args.table)
    work_dir = args.work_dir or default_work_dir(table)
    trials = trials_of(table, table.select(args.rows, args.columns), work_dir, args.trials)
    if args.verb == 'run':
        return 1 if Queue(table, console, jobs=args.jobs).run(trials) else 0
    if args.verb == 'status':
        console.print(render.status(table, trials))
        return 0
    records = read_records(table, trials)
    if args.verb == 'plan':
        grid, summary = render.plan(table, trials, records)
        console.print(grid, summary)
        return 0
    if args.verb == 'report':
        paths = write_report(table, records, work_dir)
    if args.format == 'terminal' and args.out is None:
        console.print(render.terminal(table, records))
    else:
        write(as_text(table, records, args.format, args.out.parent if args.out else work_dir), args.out)
    if args.verb == 'report':
        # Not on stdout where that carries JSON or CSV.
        print(*paths, sep='\n', file=sys.stdout if args.format == 'terminal' else sys.stderr)
    return 0


@command
def main() -> None:
    args = parse_args()
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the queue stops its trainings
    if args.verb == 'list':
        list_tables(console)
    elif args.verb == 'config':
        write(load_table(args.table).cell(args.row, args.column).config_text(), args.out)
    else:
        try:
            sys.exit(run_verb(args, console))
        except KeyboardInterrupt:
            print('interrupted; the same command goes on from here', file=sys.stderr)
            sys.exit(130)


if __name__ == '__main__':
    main()
