"""Run the unfinished trials: a queue of training processes on the machine's GPUs, or on its CPU."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import TaskID

from openmix.benchmark.bar import Bar
from openmix.benchmark.escape import terminal
from openmix.benchmark.limits import MOST_TRIALS
from openmix.benchmark.listening import listening
from openmix.benchmark.run_folder import log_tail, ready, writing
from openmix.benchmark.times import clock
from openmix.benchmark.training import STOPPED, command_line, cuda_devices, damage_before, kill, slots, start
from openmix.benchmark.trial import Trial
from openmix.benchmark.waiting import Waiting
from openmix.errors import InputError, Stopped, check_number
from openmix.files import write_text
from openmix.lease import Lease, beside, holder_at, holder_of, inside

_POLL_S = 0.1
_GRACE_S = 90  # time for saving a large model on a slow disk
_INPUT = 2  # the exit code of wrong input, with which another try is useless


@dataclass
class Job:
    """A running trial; `asked` is true once it has been asked to stop."""

    trial: Trial
    process: subprocess.Popen
    lease: Lease
    log: IO[bytes]
    task: TaskID
    asked: bool = False
    started: float = field(default_factory=time.monotonic)


class Queue:
    """Run trials, several in parallel, and show their progress.

    On SIGTERM, SIGINT and SIGHUP every training is asked to save a checkpoint and stop; a second signal
    kills them.

    Args:
        console: console for the progress; live bars on a terminal, one line per event elsewhere.
        train_script: see `training.command_line`.
        jobs: number of trials in parallel; None: one per group of GPUs, or one on the CPU.
        per_run: GPUs, or processes on the CPU, per training.
        retries: number of retries of a failed trial, counted over all calls.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        console: Console,
        train_script: Path | None = None,
        jobs: int | None = None,
        per_run: int = 1,
        retries: int = 1,
    ) -> None:
        check_number('retries', retries, 0, MOST_TRIALS)
        self.console, self.script, self.per_run, self.retries = console, train_script, per_run, retries
        self.slots = slots(jobs, cuda_devices(), per_run)
        self.waiting = Waiting()
        self.running: dict[int, Job] = {}
        self.failed: list[Trial] = []
        self.stopped: list[Trial] = []
        self.said_blocked = 0
        self.signals: list[int] = []

    def run(self, trials: Sequence[Trial]) -> list[Trial]:
        """Train every trial that is not done, and report failures at the end.

        Returns:
            The trials that failed or were stopped by others, and those whose earlier stage did.

        Raises:
            Stopped: a signal arrived, and all trainings have ended.
        """
        wanted = [trial for trial in trials if trial.state() != 'done']
        self.waiting = Waiting(wanted)
        self.total, self.ended = len(self.waiting), 0
        self._say(f'{len(trials) - self.total} trials done before, {self.total} to run, {len(self.slots)} at a time')
        self.bar = Bar(self.console, wanted)
        with self._drawn(), listening(self.signals):
            try:
                while (self.waiting or self.running) and not self.signals:
                    self._turn()
            finally:
                self.stop()
        self._report_failures()
        if self.signals:
            again = shlex.join([sys.executable, *sys.argv])
            raise Stopped(f'stopped; what is trained so far is kept, go on with: {again}', self.signals[0])
        return [*self.failed, *self.stopped, *self.waiting.blocked]

    def _turn(self) -> None:
        """Start trials in free slots, renew the leases, and process ended trainings."""
        taken = False
        for slot in sorted(set(range(len(self.slots))) - self.running.keys()):
            trial = self.waiting.take({job.trial.folder for job in self.running.values()})
            self._count_blocked()
            if trial is None:
                break
            taken = True
            with writing(trial.folder):
                job = self._start(trial, slot)
            if job is not None:
                self.running[slot] = job
        for slot, job in list(self.running.items()):
            if job.process.poll() is not None:
                self._end(self.running.pop(slot))
            elif not job.lease.keep():
                kill(job.process)  # it must not write into the folder, whose lease another process has now
                self._say(f'{job.trial.name}: another process took it over while this one was suspended')
                self._end(self.running.pop(slot))
        if self.console.is_terminal:
            self.bar.show([(job.trial, job.task) for job in self.running.values()])
        # Sleep also if nothing runs and nothing can start, because other processes hold the trials.
        time.sleep(_POLL_S if self.running or not taken else 0)

    def stop(self) -> None:
        """Ask every training to save a checkpoint and end; kill those that do not, or all after a second signal."""
        if not self.running:
            return
        before, deadline = len(self.signals), time.monotonic() + _GRACE_S
        for job in self.running.values():
            job.asked = True
            job.process.terminate()
        self._say(f'stopping; trainings that save themselves now: {len(self.running)}; a second Ctrl-C kills them')
        while self.running:
            for slot, job in list(self.running.items()):
                if len(self.signals) > max(1, before) or time.monotonic() > deadline:
                    kill(job.process)
                if job.process.poll() is not None:
                    self._end(self.running.pop(slot))
            time.sleep(_POLL_S if self.running else 0)

    def _start(self, trial: Trial, slot: int) -> Job | None:
        lease = Lease.take(beside(trial.folder))
        # A training can outlive its runner if that was suspended or its machine was lost.
        if lease is not None and holder_at(inside(trial.folder)) is not None:
            lease.release()
            lease = None
        if lease is None:
            holder = holder_of(trial.folder)
            by = holder.name if holder else 'another process'
            if trial.kind == 'earlier':
                self.waiting.leave(trial)
                self._say(f'{trial.name}: {by} is at it; what starts from it waits')
                return None
            self._count(trial)
            self._say(f'{self._nth()} {trial.name}: left to {by}')
            return None
        try:
            return self._start_with(lease, trial, slot)
        except BaseException:
            lease.release()
            raise

    def _start_with(self, lease: Lease, trial: Trial, slot: int) -> Job | None:
        if trial.state_at_rest() == 'done' or self._is_spent(trial):
            lease.release()
            self._count(trial)
            self._say(f'{self._nth()} {trial.name}: {self._why_not(trial)}')
            return None
        resume, config, log = ready(trial, self._say)
        process = start(command_line(trial, config, resume, self.per_run, self.script), self.slots[slot], log)
        task = self.bar.add(trial)
        device = self.slots[slot].get('CUDA_VISIBLE_DEVICES')
        where = f' on GPU {device}' if device else ''
        self._say(f'{trial.name}: {"resumed" if resume else "started"}{where}')
        return Job(trial, process, lease, log, task)

    def _is_spent(self, trial: Trial) -> bool:
        """Return true if a trial failed more often than `retries`; wrong input does not count, as users can fix it."""
        return sum(code != _INPUT for code in trial.failures()) > self.retries and not trial.is_stale()

    def _why_not(self, trial: Trial) -> str:
        if trial.state_at_rest() == 'done':
            return 'done by another process'
        self.failed.append(trial)
        tries = len(trial.failures())
        return f'left out, it failed {tries} times; --retries {tries} tries it again'

    def _end(self, job: Job) -> None:
        trial, seconds, code = job.trial, time.monotonic() - job.started, job.process.returncode
        job.log.close()
        self.bar.progress.remove_task(job.task)
        try:
            self._take_in(job, trial, code, clock(seconds))
        finally:
            job.lease.release()

    def _left(self) -> str:
        return self.bar.left([job.trial for job in self.running.values()])

    def _take_in(self, job: Job, trial: Trial, code: int, after: str) -> None:
        result = trial.result()
        why = f'exit code {code}'
        # A training that was asked to stop at its very end may have a result; torchrun then exits with code 1.
        if result is not None and (code == 0 or job.asked):
            try:
                outcome = trial.outcome()
                (trial.folder / 'exit_code').unlink(missing_ok=True)
                self._count(trial)
                self._say(f'{self._nth()} {trial.name}: {outcome} after {after}{self._left()}')
                return
            except InputError as error:
                why, code = str(error), _INPUT
        if job.asked or code in STOPPED or not job.lease.is_mine():
            self.stopped.append(trial)
            self._count(trial)
            kept = 'can be resumed' if trial.resumable() else 'nothing was saved yet'
            self._say(f'{trial.name}: stopped after {after}, {kept}')
            return
        codes = [*trial.failures(), code]
        write_text(trial.folder / 'exit_code', '\n'.join(map(str, codes)) + '\n')
        again = code != _INPUT and not self._is_spent(trial)
        if again:
            self.waiting.append(trial)
            self._say(f'{trial.name}: FAILED after {after}, {why}; tried again later')
        else:
            self.failed.append(trial)
            self._count(trial)
            self._say(f'{self._nth()} {trial.name}: FAILED after {after}, {why}')

    def _count_blocked(self) -> None:
        """Report every trial that cannot run, with its failed earlier stage."""
        for trial in self.waiting.blocked[self.said_blocked :]:
            self._count(trial)
            if trial.earlier is not None:
                why = f'its earlier stage ({trial.earlier.name}) is {trial.earlier.state()}'
                self._say(f'{self._nth()} {trial.name}: cannot run, {why}')
        self.said_blocked = len(self.waiting.blocked)

    def _count(self, trial: Trial) -> None:
        self.ended += 1
        self.bar.count(trial)

    def _nth(self) -> str:
        return f'[{self.ended}/{self.total}]'

    def _say(self, line: str) -> None:
        with self._unheard():
            self.console.print(terminal(line), soft_wrap=True)

    @contextlib.contextmanager
    def _drawn(self) -> Iterator[None]:
        """Show the progress bars while the block runs."""
        self.bar.progress.start()
        try:
            yield
        finally:
            with self._unheard():
                self.bar.progress.stop()

    def _unheard(self) -> contextlib.AbstractContextManager[None]:
        """Ignore errors of printing after SIGHUP, when the terminal is gone but trainings still have to be stopped."""
        return contextlib.suppress(OSError) if signal.SIGHUP in self.signals else contextlib.nullcontext()

    def _report_failures(self) -> None:
        for trial in self.failed:
            self._say(f'\n{trial.name} failed; the end of {trial.folder / "log.txt"}:')
            for line in log_tail(trial.folder):
                self._say(f'    {line}')
        for trial in {trial.earlier: trial for trial in self.failed if trial.earlier is not None}.values():
            if damage := damage_before(trial):
                self._say(f'\n{damage}')
        if self.failed:
            self._say(f'\n{len(self.failed)} of {self.total} trials failed; what failed on bad input runs again')
        if self.waiting.blocked:
            self._say(f'\n{len(self.waiting.blocked)} of {self.total} trials lack their earlier stage')
        if self.stopped and not self.signals:
            self._say(f'\n{len(self.stopped)} of {self.total} trials were stopped; the same command resumes them')
