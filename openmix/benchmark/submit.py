"""Submit the trials of a table to Slurm, one array a stage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from openmix.benchmark import slurm
from openmix.benchmark.cell import Cell
from openmix.benchmark.chain import WEIGHTS, with_earlier
from openmix.benchmark.folders import slug
from openmix.benchmark.table import Table
from openmix.benchmark.trials import trials_of
from openmix.errors import InputError

# Options of `run` that only one engine has.
_OF_HERE: tuple[str, ...] = ('jobs',)
OF_SLURM: tuple[str, ...] = ('partition', 'time_min', 'cpus_per_task', 'array_parallelism')


def check_engine(args: argparse.Namespace, on_slurm: bool) -> None:
    """Check that the options of `run` have an effect with the chosen engine.

    Raises:
        InputError: an option belongs to another engine, or contradicts `--smoke`.
    """
    if args.smoke and on_slurm:
        raise InputError('--smoke runs on this machine; leave out --engine slurm and --print-sbatch')
    wrong, why = OF_SLURM, 'is of Slurm; add --engine slurm'
    if args.smoke:
        wrong, why = (*_OF_HERE, *OF_SLURM, 'trials', 'steps'), 'is not for --smoke, which tries each cell once, here'
    elif on_slurm:
        wrong, why = _OF_HERE, 'is not of Slurm; --array-parallelism says how many jobs run at a time'
    for option in wrong:
        if vars(args)[option] is not None:
            raise InputError(f'--{option.replace("_", "-")} {why}')


def resources_of(args: argparse.Namespace) -> slurm.Resources:
    """Return the resources of a job by the options of the command.

    Raises:
        InputError: a number is out of range.
    """
    asked = dict(zip(('partition', 'time_min', 'cpus', 'parallel'), (vars(args)[option] for option in OF_SLURM)))
    return slurm.Resources(
        gpus=args.gpus_per_run, **{name: value for name, value in asked.items() if value is not None}
    )


def submit_table(
    table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace, console: Console
) -> int:
    """Submit the trials that are not done, or print their scripts; return the exit code.

    Raises:
        InputError: submitit is not installed, or there is no Slurm on this machine.
    """
    every = with_earlier(trials_of(table, cells, work_dir, args.trials, args.weights_dir or WEIGHTS))
    trials = [trial for trial in every if trial.state() not in ('done', 'running')]
    if behind := slurm.behind_running(trials):
        later = (
            f'{len(behind)} trials start from a stage that is running: the same command submits them once it is done'
        )
        print(later, file=sys.stderr if args.print_sbatch else sys.stdout)
        held = {trial.folder for trial in behind}
        trials = [trial for trial in trials if trial.folder not in held]
    if not trials:
        rest = len(every) - len(behind)
        print(f'{rest} trials are done or running, nothing to submit', file=sys.stderr if args.print_sbatch else None)
        return 0
    resources = resources_of(args)
    folder, name = work_dir / 'slurm', '-'.join(map(slug, table.name.split('/')))
    arrays = slurm.by_stage(trials)
    if args.print_sbatch:
        for place, array in enumerate(arrays):
            # The number of a job is unknown before it is submitted.
            after = '<JOB ID OF THE SCRIPT ABOVE>' if place else None
            print(slurm.sbatch_script(len(array), folder, name, resources, after), end='')
        return 0
    before: list[Any] = []
    for array in arrays:
        jobs = slurm.submit(array, folder, name, resources, args.retries, after=before)
        number = jobs[0].job_id.partition('_')[0]
        waits = f', which waits for job {before[0].job_id.partition("_")[0]}' if before else ''
        console.print(f'{len(jobs)} trials submitted as job {number}{waits}; logs: {folder}', soft_wrap=True)
        before = jobs
    if any(cell.implemented and cell.grid for cell in cells):
        console.print('cells with a grid: the same command submits their final trials once their search is finished')
    return 0
