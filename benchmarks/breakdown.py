"""Profile a training step: benchmarks/breakdown.py [RUN] [--steps N] [--trace FILE].

RUN is one of the suite `epoch`. On a GPU the fraction of time that the GPU is busy is printed too.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.suites.epoch import QUICK, RUNS, SIZES, recipe
from benchmarks.timing import keep_memory, synchronise
from benchmarks.training import run_quietly
from openmix.entry_point import command
from openmix.errors import InputError, check_number, nearest

SHOWN = 12


class ProfileHook(Hook):
    """Profile `steps` steps of a training, after the same number of warm-up steps."""

    priority = 'LOWEST'

    def __init__(self, steps: int) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self.steps, self.profiler = steps, profile(activities=activities)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == self.steps:
            synchronise()
            self.profiler.start()
        elif runner.iter + 1 == 2 * self.steps:
            synchronise()
            self.profiler.stop()


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Compute the length of the union of (start, end) intervals."""
    total, reached = 0.0, float('-inf')
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def shares(found: profile) -> tuple[list[tuple[str, float]], float | None]:
    """Find the operators, or GPU kernels, that took the most time.

    Returns:
        (name, fraction of the total) of each; and the fraction of time that the GPU was busy, None without a GPU.
    """
    events = found.events()
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    spent: Counter[str] = Counter()
    for event in kernels or events:
        spent[event.name] += event.time_range.elapsed_us() if kernels else event.self_cpu_time_total
    total = sum(spent.values())
    longest = [(name, each / total) for name, each in spent.most_common(SHOWN)]
    if not kernels:
        return longest, None
    spans = [(event.time_range.start, event.time_range.end) for event in events]
    window = max(end for _, end in spans) - min(start for start, _ in spans)
    return longest, covered((event.time_range.start, event.time_range.end) for event in kernels) / window


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show where the time of a training step goes.')
    parser.add_argument('run', nargs='?', default='CutMix, decoupled_ce', help=f'one of: {"; ".join(RUNS)}')
    parser.add_argument('--steps', type=int, default=20, help='profiled, after as many that are not')
    parser.add_argument('--trace', metavar='FILE', help='write what a browser shows at ui.perfetto.dev')
    parser.add_argument('--quick', action='store_true', help='the smallest network: only to see it run')
    return parser.parse_args()


@command
def main() -> None:
    args = parse()
    check_number('--steps', args.steps, 1, 10_000)
    if args.run not in RUNS:
        raise InputError(f"no run '{args.run}'; {nearest(args.run, RUNS)}")
    init_default_scope('openmix')
    keep_memory()
    _, batch, _ = QUICK if args.quick else SIZES['cuda' if torch.cuda.is_available() else 'cpu']
    hook = ProfileHook(args.steps)
    run_quietly(recipe(*RUNS[args.run], batch * args.steps, batch, args.quick), hook)
    longest, busy = shares(hook.profiler)
    print(f'{args.run}, {args.steps} steps of batch {batch}\n\n| share | what |\n|---|---|')
    for name, share in longest:
        print(f'| {share:.1%} | {name[:90]} |')
    if busy is not None:
        print(f'\nThe GPU was busy {busy:.1%} of the time.')
    if args.trace:
        hook.profiler.export_chrome_trace(args.trace)


if __name__ == '__main__':
    main()
