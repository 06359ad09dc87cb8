"""A training as a process: its devices, its command, and how to start and kill it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from openmix.benchmark.limits import MOST_JOBS
from openmix.benchmark.trial import Trial
from openmix.errors import InputError, check_number
from openmix.shipped import tools_path

_ASKS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Exit codes of a training that was asked to stop: 128 + the signal's number, or, before it handles signals, minus it.
STOPPED = {sign * number + (128 if sign > 0 else 0) for number in _ASKS for sign in (1, -1)}
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def cuda_devices() -> list[str]:
    """List the visible CUDA devices of this machine, by their names in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    count = torch.cuda.device_count()
    return [name.strip() for name in visible.split(',')][:count] if visible else [str(i) for i in range(count)]


def check_counts(jobs: int | None, per_run: int) -> None:
    """Raise an `InputError` unless `jobs` and `per_run` are valid counts or None; see `slots`."""
    for name, value in (('jobs', jobs), ('gpus-per-run', per_run)):
        if value is not None:
            check_number(name, value, 1, MOST_JOBS)


def slots(jobs: int | None, devices: Sequence[str], per_run: int = 1) -> list[dict[str, str]]:
    """Return the environment variables of each parallel training: CUDA_VISIBLE_DEVICES, or OMP_NUM_THREADS on the CPU.

    Args:
        jobs: number of parallel trainings; None: one per group of `per_run` GPUs, or one on the CPU.
        devices: CUDA devices of the machine; empty: the CPU.
        per_run: GPUs or processes per training.

    Raises:
        InputError: a number is below 1, or a training needs more GPUs than there are.
    """
    check_counts(jobs, per_run)
    if devices and per_run > len(devices):
        raise InputError(f'gpus-per-run is {per_run}, this machine shows {len(devices)} GPUs')
    groups = [devices[i : i + per_run] for i in range(0, len(devices) - per_run + 1, per_run)]
    if groups:
        return [{'CUDA_VISIBLE_DEVICES': ','.join(groups[i % len(groups)])} for i in range(jobs or len(groups))]
    jobs = jobs or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threads = os.environ.get('OMP_NUM_THREADS', str(max(1, cores // (jobs * per_run))))
    return [{'OMP_NUM_THREADS': threads} for _ in range(jobs)]


def command_line(trial: Trial, config: Path, resume: bool, per_run: int = 1, script: Path | None = None) -> list[str]:
    """Make the command line of a training; several processes split the recipe's batch, so the experiment is the same.

    Args:
        trial: the trial.
        config: file of its resolved recipe.
        resume: resume the run.
        per_run: number of processes.
        script: a script with the arguments `CONFIG [PROCESSES] --work-dir DIR --seed S [--resume]`; by default
            `tools/train.py`, or `tools/dist_train.sh` for several processes.
    """
    several = per_run > 1
    script = script or tools_path('dist_train.sh' if several else 'train.py')
    words = [str(script)] if script.suffix == '.sh' else [sys.executable, str(script)]
    words += [str(config), *([str(per_run)] if several else [])]
    words += ['--work-dir', str(trial.folder.resolve()), '--seed', str(trial.seed)]
    if trial.earlier is not None and not resume:  # a resumed run has them already
        words += ['--weights', str(weights_of(trial.earlier))]
    return [*words, *(['--split-batch'] if several else []), *(['--resume'] if resume else [])]


def weights_of(earlier: Trial) -> Path:
    """Return the checkpoint of a finished run, from which the next stage starts.

    Raises:
        InputError: there is none.
    """
    found = earlier.last_checkpoint()
    if found is None:
        raise InputError(f'{earlier.name} left no checkpoint in {earlier.folder}')
    return found.resolve()


def damage_before(trial: Trial) -> str | None:
    """Say that the checkpoint which a failed trial starts from is damaged, and what to do; None if it can be read."""
    if trial.earlier is None or trial.earlier.last_checkpoint() is None:
        return None
    from openmix.weights_file import read_file  # imports torch, which takes seconds

    try:
        read_file(weights_of(trial.earlier))
    except InputError as error:
        return f'{error}; delete {trial.earlier.folder} and run again, which trains this earlier stage again'
    return None


def start(words: Sequence[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen:
    """Start a training that writes to `log`.

    It has its own session, so that Ctrl-C does not reach it directly, and it gets SIGTERM when
    this process is killed, so that another one can continue in its folder.
    """
    env = os.environ | {'PYTHONUNBUFFERED': '1', 'PYTHON': sys.executable} | environment
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(_DIE_WITH_PARENT, signal.SIGTERM)

    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def kill(process: subprocess.Popen) -> None:
    """Kill a training and its child processes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
