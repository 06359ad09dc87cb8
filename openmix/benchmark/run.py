"""Run what is not done: a queue of training processes over the machine's GPUs, or its CPU."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from openmix.benchmark.trials import Trial, read_out
from openmix.config import tools_path
from openmix.errors import InputError
from openmix.files import write_text

_POLL_S = 0.1
_GRACE_S = 30
_LOG_LINES = 12


@dataclass
class Job:
    """A running trial."""

    trial: Trial
    process: subprocess.Popen
    lock: int
    log: IO[bytes]
    task: TaskID
    started: float = field(default_factory=time.monotonic)


def cuda_devices() -> list[str]:
    """The CUDA devices of this machine that the environment lets us see, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    count = torch.cuda.device_count()
    return [name.strip() for name in visible.split(',')][:count] if visible else [str(i) for i in range(count)]


def slot_environments(jobs: int, devices: Sequence[str]) -> list[dict[str, str]]:
    """What each of `jobs` parallel trainings finds in its environment: its GPU, or its share of the cores."""
    if devices:
        return [{'CUDA_VISIBLE_DEVICES': devices[slot % len(devices)]} for slot in range(jobs)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return [{'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', str(max(1, cores // jobs)))} for _ in range(jobs)]


def take_lock(folder: Path) -> int | None:
    """Lock a trial's folder; None where another process trains in it.

    The training process inherits the descriptor, so the lock lasts as long as either lives, and a
    killed machine leaves none behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / 'lock', os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(5):  # `is_locked` of another process holds it for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        time.sleep(0.05)
    os.close(lock)
    return None


def set_aside(folder: Path) -> Path:
    """Rename the folder of a run whose config or seed has changed since; nothing is deleted."""
    number = 1
    while folder.with_name(f'{folder.name}.old{number}').exists():
        number += 1
    return folder.rename(folder.with_name(f'{folder.name}.old{number}'))


def log_tail(folder: Path, lines: int = _LOG_LINES) -> list[str]:
    """The last lines of a trial's log."""
    with contextlib.suppress(OSError):
        return (folder / 'log.txt').read_text(encoding='utf-8', errors='replace').splitlines()[-lines:]
    return []


class Queue:
    """Runs trials, a few at a time, and shows how far they are.

    Args:
        console: where progress goes; live bars on a terminal, a line an event elsewhere.
        train_script: takes `CONFIG --work-dir DIR --seed S [--resume]`; `tools/train.py` unless given.
        jobs: how many run at a time; None: one a CUDA device, or one on the CPU.
    """

    def __init__(self, console: Console, train_script: Path | None = None, jobs: int | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise InputError(f'jobs must be >= 1, got {jobs}')
        devices = cuda_devices()
        self.console = console
        self.script = train_script or tools_path('train.py')
        self.slots = slot_environments(jobs or len(devices) or 1, devices)
        self.progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn('{task.fields[note]}'),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.failed: list[Trial] = []

    def run(self, trials: Sequence[Trial]) -> list[Trial]:
        """Train every trial that is not done, and report at the end.

        Returns:
            The trials that failed.
        """
        waiting = deque(trial for trial in trials if trial.state() != 'done')
        self.total, self.ended, self.began = len(waiting), 0, time.monotonic()
        self._say(f'{len(trials) - self.total} trials done before, {self.total} to run, {len(self.slots)} at a time')
        self.units = sum(trial.epochs or 1 for trial in waiting)
        self.units_ended = 0
        running: dict[int, Job] = {}
        with self.progress:
            self.overall = self.progress.add_task('all', total=self.units, note='')
            try:
                while waiting or running:
                    for slot in sorted(set(range(len(self.slots))) - running.keys()):
                        job = self._start(waiting.popleft(), slot) if waiting else None
                        if job is not None:
                            running[slot] = job
                    for slot, job in list(running.items()):
                        if job.process.poll() is not None:
                            self._end(running.pop(slot))
                    self._show(running.values())
                    time.sleep(_POLL_S if running else 0)
            finally:
                for job in running.values():
                    job.process.terminate()
                for job in running.values():
                    self._stop(job)
        self._report_failures()
        return self.failed

    def _start(self, trial: Trial, slot: int) -> Job | None:
        lock = take_lock(trial.folder)
        if lock is None:
            self._count(trial)
            self._say(f'{self._nth()} {trial.name}: left alone, another process is training it')
            return None
        if trial.is_stale():
            os.close(lock)
            self._say(f'{trial.name}: its config or seed has changed; the old run is kept in {set_aside(trial.folder)}')
            return self._start(trial, slot)
        resume = trial.resumable()
        # Not in the trial's own folder: mmengine dumps the config it ends up with there, by the same name.
        config = trial.folder.parent / 'config.py'
        write_text(config, trial.cell.config_text())
        write_text(trial.folder / 'cell.json', json.dumps(trial.identity, indent=1) + '\n')
        (trial.folder / 'exit_code').unlink(missing_ok=True)
        if not resume:
            (trial.folder / 'metrics.jsonl').unlink(missing_ok=True)
        log = open(trial.folder / 'log.txt', 'ab' if resume else 'wb')  # noqa: SIM115  the job closes it
        command = [sys.executable, str(self.script), str(config), '--work-dir', str(trial.folder.resolve())]
        command += ['--seed', str(trial.seed), *(['--resume'] if resume else [])]
        env = os.environ | {'PYTHONUNBUFFERED': '1'} | self.slots[slot]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, pass_fds=(lock,))
        task = self.progress.add_task(escape(trial.name), total=trial.epochs, note='')
        device = self.slots[slot].get('CUDA_VISIBLE_DEVICES')
        where = f' on GPU {device}' if device else ''
        self._say(f'{trial.name}: {"resumed" if resume else "started"}{where}')
        return Job(trial, process, lock, log, task)

    def _end(self, job: Job) -> None:
        trial, seconds = job.trial, time.monotonic() - job.started
        self._release(job)
        self._count(trial)
        result = trial.result()
        why = f'exit code {job.process.returncode}'
        if job.process.returncode == 0 and result is not None:
            try:
                value = read_out(result, trial.cell.metric, trial.cell.readout)
                self._say(f'{self._nth()} {trial.name}: {value:.2f} after {clock(seconds)}{self._left()}')
                return
            except InputError as error:
                why = str(error)
        (trial.folder / 'exit_code').write_text(f'{job.process.returncode}\n', encoding='utf-8')
        self.failed.append(trial)
        self._say(f'{self._nth()} {trial.name}: FAILED after {clock(seconds)}, {why}')

    def _stop(self, job: Job) -> None:
        try:
            job.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            job.process.kill()
            job.process.wait()
        self._release(job)

    def _release(self, job: Job) -> None:
        job.log.close()
        os.close(job.lock)
        self.progress.remove_task(job.task)

    def _count(self, trial: Trial) -> None:
        self.ended += 1
        self.units_ended += trial.epochs or 1

    def _nth(self) -> str:
        return f'[{self.ended}/{self.total}]'

    def _left(self, units: float | None = None) -> str:
        """', 3 min left' by the pace so far; nothing where there is none."""
        units = self.units_ended if units is None else units
        if not 0 < units < self.units:
            return ''
        pace = (time.monotonic() - self.began) / units
        return f', about {clock(pace * (self.units - units))} left'

    def _show(self, running: Iterable[Job]) -> None:
        if not self.console.is_terminal:
            return
        units = self.units_ended
        for job in running:
            row = job.trial.last_epoch()
            metric = job.trial.cell.metric
            epochs, value = row.get('epoch', 0), row.get(metric)
            units += min(epochs, job.trial.epochs or 0)
            note = '' if value is None else f'{metric} {value:.2f}'
            self.progress.update(job.task, completed=epochs, note=note)
        self.progress.update(self.overall, completed=units, note=self._left(units).removeprefix(', '))

    def _say(self, line: str) -> None:
        self.progress.console.print(escape(line), highlight=False, soft_wrap=True)

    def _report_failures(self) -> None:
        for trial in self.failed:
            self._say(f'\n{trial.name} failed; the end of {trial.folder / "log.txt"}:')
            for line in log_tail(trial.folder):
                self._say(f'    {line}')
        if self.failed:
            self._say(f'\n{len(self.failed)} of {self.total} trials failed; the same command runs them again')


def clock(seconds: float) -> str:
    """A duration as people say it: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole // 60 % 60:02d} min'
