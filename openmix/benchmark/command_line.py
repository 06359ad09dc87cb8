"""The command line of `tools/benchmark.py`: a verb, a table, and the options of each verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from openmix.arguments import CommandParser
from openmix.benchmark.chain import WEIGHTS
from openmix.benchmark.report import FORMATS
from openmix.benchmark.table import table_names
from openmix.benchmark.variant import VARIANTS
from openmix.errors import check_choice, close_to
from openmix.measurements import add_measurements

_TABLE = 'a name below configs/tables, or a YAML file'
TITLE = 'Run a published table and print ours beside theirs.'
VERBS = {
    'list': 'the tables there are',
    'config': 'the resolved recipe of one cell',
    'show': 'measured and published numbers; without a table, of all',
    'plan': 'what run would do, and the data, disk and hours it takes',
    'run': 'train what is not done, resume what was interrupted',
    'status': 'where every trial stands',
    'report': 'print leaderboard, gains and claims, write report.html and report.md',
    'rank': 'rank the cells that several tables have in common',
    'serve': 'show the page in a browser, with the runs that are not done; it renews itself',
    'evaluate': 'measure checkpoints of finished trials: attacks, corruptions, occlusion, calibration, mixed images',
    'figure': 'draw the numbers: figure.png, figure.svg and figure.csv',
    'submit': 'pack the finished runs into one file, which report --import of others shows beside theirs',
}


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command; by default those of this process.

    Raises:
        InputError: they are not valid; for an unknown verb or option the line names the nearest.
    """
    words = sys.argv[1:] if words is None else list(words)
    if not words or words[0].startswith('-'):
        verbs = '\n'.join(f'  {verb:<8} {text}' for verb, text in VERBS.items())
        parser = CommandParser(f'{TITLE}\n\nverbs, each with a --help of its own:\n{verbs}')
        parser.add_argument('verb', help='what to do')
        parser.parse_args(words)
    verb, *rest = words
    check_choice('the verb', verb, VERBS)
    parser = CommandParser(f'{VERBS[verb][0].upper()}{VERBS[verb][1:]}.', prog=f'{Path(sys.argv[0]).name} {verb}')
    _ADD[verb](parser)
    return parser.parse_args(rest, argparse.Namespace(verb=verb))


def _add_config(parser: CommandParser) -> None:
    parser.add_argument('table', help=_TABLE)
    parser.add_argument('row', help='the name of its row')
    parser.add_argument('column', help='the name of its column')
    parser.add_argument('--out', type=Path, metavar='FILE', help='the file: instead of printing')
    _add_changes(parser)


def _add_changes(parser: CommandParser) -> None:
    """Add the options that change every cell: --cfg-options, --steps and --variant."""
    parser.add_cfg_options(', in every cell, whose runs have a work folder of their own')
    parser.set_defaults(cfg_options=None)
    told = 'train N iterations, for study; for recipes that count iterations, in a work folder of their own'
    parser.add_argument('--steps', type=int, metavar='N', help=told)
    parser.add_argument(
        '--variant',
        choices=VARIANTS,
        help='as the printed runs were done, or as the papers mean it (default: by the table)',
    )


def _add_choice(parser: CommandParser, all_tables: bool = False) -> None:
    """Add the table and the options that choose its cells, its trials and its work folder."""
    nargs = '?' if all_tables else None
    parser.add_argument('table', nargs=nargs, help=_TABLE)
    parser.add_argument('--rows', metavar='GLOB', help="only these rows, such as 'Cut*'")
    parser.add_argument('--columns', metavar='GLOB', help='only these columns')
    parser.add_argument('--trials', type=int, metavar='N', help='trials a cell (default: as the table says)')
    folder = 'the work folder: of the table (default: work_dirs/tables/TABLE)'
    parser.add_argument('--work-dir', '--work_dir', type=Path, metavar='DIR', help=folder)
    stages = f'the folder of stages that cells start from, shared by all tables (default: {WEIGHTS})'
    parser.add_argument('--weights-dir', type=Path, metavar='DIR', help=stages)
    _add_changes(parser)


def _add_format(parser: CommandParser) -> None:
    parser.add_argument('--format', choices=FORMATS, default='terminal', help='of the output (default: terminal)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='the file: instead of printing')


def _add_show(parser: CommandParser) -> None:
    _add_choice(parser, all_tables=True)
    _add_format(parser)


def _add_plan(parser: CommandParser) -> None:
    _add_choice(parser)
    told = 'train N iterations, keep nothing, print the cost: of each distinct recipe'
    parser.add_argument('--dry-run', type=int, metavar='N', help=told)
    parser.add_argument('--disk', action='store_true', help="build every recipe's model to count the disk")


def _add_run(parser: CommandParser) -> None:
    _add_choice(parser)
    told = 'trainings at a time (default: all that the GPUs take)'
    parser.add_argument('--jobs', type=int, metavar='N', help=told)
    told = 'GPUs of one training, or processes without a GPU; they share its batch (default: 1)'
    parser.add_argument('--gpus-per-run', type=int, default=1, metavar='N', help=told)
    parser.add_argument('--retries', type=int, default=1, metavar='N', help='tries of a trial that failed (default: 1)')
    parser.add_argument(
        '--smoke', action='store_true', help='a tiny pass of each cell on generated data; keeps nothing'
    )
    parser.add_argument(
        '--engine', choices=('local', 'slurm'), default='local', help='where trainings run (default: local)'
    )
    parser.add_argument('--partition', metavar='NAME', help="slurm: where to (default: the cluster's)")
    told = 'slurm: minutes until a job is saved and queued again (default: a day)'
    parser.add_argument('--time-min', type=int, metavar='N', help=told)
    parser.add_argument('--cpus-per-task', type=int, metavar='N', help='slurm: cores of a job')
    told = 'slurm: jobs at a time'
    parser.add_argument('--array-parallelism', type=int, metavar='N', help=told)
    parser.add_argument('--print-sbatch', action='store_true', help='slurm: print the script and submit nothing')


def _add_status(parser: CommandParser) -> None:
    _add_choice(parser)
    parser.add_argument('--watch', action='store_true', help='renew it every few seconds, with the time left')


def _add_report(parser: CommandParser) -> None:
    _add_choice(parser)
    _add_import(parser)
    told = 'add a batch mixed by each row to the HTML; draws one in seconds'
    parser.add_argument('--pictures', action='store_true', help=told)
    _add_format(parser)


def _add_import(parser: CommandParser) -> None:
    told = "others' results, shown beside ours: files that submit wrote, or a work folder of the table"
    parser.add_list('--import', _imported, dest='imports', default=[], type=Path, metavar='PATH ...', help=told)


def _imported(word: str) -> bool:
    """Return true if a word behind the first of `--import` is one more file or folder, and not the table."""
    if word.endswith(('.yaml', '.yml')) or word in table_names():
        return False
    return word.endswith('.zip') or Path(word).is_dir() or ('/' in word and close_to(word, table_names()) is None)


def _add_serve(parser: CommandParser) -> None:
    _add_choice(parser)
    _add_import(parser)
    told = 'of this machine, where a browser finds the page; 0: any that is free (default: 8765)'
    parser.add_argument('--port', type=int, default=8765, metavar='N', help=told)


def _add_rank(parser: CommandParser) -> None:
    parser.add_argument('tables', nargs='+', metavar='TABLE', help=f'each {_TABLE}')
    parser.add_argument('--rows', metavar='GLOB', help="only these rows, such as 'Cut*'")
    parser.add_argument('--columns', metavar='GLOB', help='only these columns')


def _add_evaluate(parser: CommandParser) -> None:
    _add_choice(parser)
    add_measurements(parser)


def _add_figure(parser: CommandParser) -> None:
    _add_choice(parser)
    parser.add_argument('--out', type=Path, metavar='DIR', help="the folder of the files (default: the table's)")


def _add_submit(parser: CommandParser) -> None:
    _add_choice(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='the file: .zip')
    told = 'whose runs these are, as reports show it'
    parser.add_argument('--name', required=True, metavar='TEXT', help=told)
    parser.add_argument('--note', metavar='TEXT', help='what to say of them, such as the machine')


_ADD: dict[str, Callable[[CommandParser], None]] = {
    'list': lambda parser: None,
    'config': _add_config,
    'show': _add_show,
    'plan': _add_plan,
    'run': _add_run,
    'status': _add_status,
    'report': _add_report,
    'rank': _add_rank,
    'serve': _add_serve,
    'evaluate': _add_evaluate,
    'figure': _add_figure,
    'submit': _add_submit,
}
