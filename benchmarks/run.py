"""Measure speed as ratios within one run: benchmarks/run.py [--suite NAME ...] [--json FILE] [--peer PATH] ..."""

import argparse
import dataclasses
import importlib
import json
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import suites
from benchmarks.peer import import_peer
from benchmarks.setting import Setting
from benchmarks.timing import Timing, keep_memory, summarise
from openmix.engine.environment import commit, environment
from openmix.entry_point import command
from openmix.errors import InputError

SUITES = sorted(found.name for found in pkgutil.iter_modules(suites.__path__))
FEWEST_ROUNDS = 3
SHOWN = {'s': ('ms', 1e3), 'MB': ('MB', 1)}


def render(rows: Sequence[Timing]) -> str:
    """Write a comparison as a Markdown table with aligned columns."""
    unit, scale = SHOWN[rows[0].unit]
    cells = [('', f'median {unit}', 'low..high', 'faults', 'ratio (low..high)')]
    for row in rows:
        median, low, high = (_brief(value * scale) for value in (row.median, row.low, row.high))
        ratios = '; '.join(f'{r.median:.3g} ({r.low:.3g}..{r.high:.3g}) of {r.to}' for r in row.ratios)
        cells.append((row.name, median, f'{low}..{high}', f'{row.faults:.0f}', ratios or '1'))
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |' for row in cells]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return f'**{rows[0].suite}**\n\n' + '\n'.join(lines) + '\n'


def _brief(value: float) -> str:
    return f'{value:.4g}' if value < 1e4 else f'{value:.0f}'


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure speed as ratios from one run.')
    parser.add_argument('--suite', nargs='+', choices=SUITES, default=SUITES)
    parser.add_argument('--rounds', type=int, default=5, help='turns every candidate takes, at least 3')
    parser.add_argument('--seconds', type=float, default=0.3, help='the least a turn lasts')
    parser.add_argument('--minutes', type=float, default=1.0, help="how long the suite 'memory' trains")
    parser.add_argument('--json', metavar='FILE', help='append one JSON object a candidate')
    parser.add_argument('--peer', metavar='PATH', help='a checkout of OpenMixup to time beside ours')
    parser.add_argument('--quick', action='store_true', help='smallest sizes, any number of rounds: only to see it run')
    parser.add_argument('--return-memory', action='store_true', help="leave the C library's allocator as it is")
    args = parser.parse_args()
    fewest = 1 if args.quick else FEWEST_ROUNDS
    if args.rounds < fewest:
        raise InputError(f'--rounds must be at least {fewest}, got {args.rounds}: fewer have no spread')
    if args.minutes <= 0:
        raise InputError(f'--minutes must be above 0, got {args.minutes}')
    if args.peer and 'policies' not in args.suite:
        raise InputError("--peer is timed in the suite 'policies'; name it in --suite or leave --suite out")
    return args


@command
def main() -> None:
    args = parse()
    init_default_scope('openmix')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    setting = Setting(device, args.quick, import_peer(args.peer) if args.peer else None, args.minutes)
    kept = not args.return_memory and keep_memory()
    machine = {**environment(), 'commit': commit(), 'device': device, 'memory_kept': kept, 'quick': args.quick}
    keys = ('cpu', 'cores', 'threads', 'torch', 'device', 'commit', 'memory_kept')
    print(' | '.join(f'{key} {machine[key]}' for key in keys) + '\n')
    if args.quick:
        print('Quick: smallest sizes; these times say nothing.\n')
    for name in args.suite:
        for comparison in importlib.import_module(f'benchmarks.suites.{name}').comparisons(setting):
            rows = summarise(comparison, args.rounds, args.seconds)
            print(render(rows), flush=True)
            if args.json:
                with Path(args.json).open('a', encoding='utf-8') as file:
                    file.writelines(json.dumps({**dataclasses.asdict(row), 'machine': machine}) + '\n' for row in rows)


if __name__ == '__main__':
    main()
