"""Speed as ratios from one run: benchmarks/run.py [--suite NAME ...] [--json FILE]."""

import argparse
import dataclasses
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import suites
from benchmarks.timing import Timing, compare
from openmix.engine.environment import commit, environment

SUITES = sorted(found.name for found in pkgutil.iter_modules(suites.__path__))


def render(rows: list[Timing]) -> Table:
    table = Table('candidate', 'median', 'spread', 'ratio', title=rows[0].suite, title_justify='left')
    for row in rows:
        table.add_row(row.name, f'{row.median_s * 1e3:.3f} ms', f'{row.spread:.0%}', f'{row.ratio:.3g}')
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description='Measure speed as ratios from one run.')
    parser.add_argument('--suite', nargs='+', choices=SUITES, default=SUITES)
    parser.add_argument('--rounds', type=int, default=5, help='turns every candidate takes')
    parser.add_argument('--seconds', type=float, default=0.3, help='the least a turn lasts')
    parser.add_argument('--json', metavar='FILE', help='append one JSON object a candidate')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    machine = {**environment(), 'commit': commit(), 'device': device}
    console = Console()
    console.print(' | '.join(str(machine[key]) for key in ('cpu', 'threads', 'torch', 'device', 'commit')))
    for name in args.suite:
        for title, candidates in importlib.import_module(f'benchmarks.suites.{name}').candidates(device):
            rows = compare(title, candidates, args.rounds, args.seconds)
            console.print(render(rows))
            if args.json:
                with Path(args.json).open('a', encoding='utf-8') as file:
                    file.writelines(json.dumps({**dataclasses.asdict(row), 'machine': machine}) + '\n' for row in rows)


if __name__ == '__main__':
    main()
