"""Run trials as one array of Slurm jobs, through submitit."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from openmix.benchmark.escape import slurm_name, slurm_path
from openmix.benchmark.limits import MOST_JOBS, MOST_MINUTES, MOST_RUNS
from openmix.benchmark.run import Queue
from openmix.benchmark.trial import Trial
from openmix.errors import InputError, Stopped, check_number, install_hint
from openmix.lease import EXPIRES_S, HEARTBEAT_S, holder_of

_SIGNAL_DELAY_S = 120  # from the signal that time is up to the end: trainings are saved in between
_REQUEUES = 1000  # a training longer than the partition allows goes on as often as it takes
_LOOK_AGAIN_S = 5


@dataclass(frozen=True)
class Resources:
    """The resources of one job of a Slurm array.

    Attributes:
        partition: None: the cluster's default.
        time_min: minutes until it is saved and queued again.
        gpus: of its training; 0: the CPU.
        cpus: cores.
        parallel: jobs at a time.
    """

    partition: str | None = None
    time_min: int = 24 * 60
    gpus: int = 1
    cpus: int = 8
    parallel: int = 256

    def __post_init__(self) -> None:
        check_number('time-min', self.time_min, 1, MOST_MINUTES)
        check_number('gpus-per-run', self.gpus, 0, MOST_JOBS)
        check_number('cpus-per-task', self.cpus, 1, MOST_JOBS)
        check_number('array-parallelism', self.parallel, 1, MOST_RUNS)
        if self.partition is not None:
            slurm_name('partition', self.partition)

    def slurm(self, name: str, after: str | None = None) -> dict[str, Any]:
        """The parameters of submitit's Slurm executor for these resources.

        Args:
            after: the id of an array that has to end first.
        """
        found: dict[str, Any] = {
            'job_name': slurm_name('the name of the jobs', name),
            'partition': self.partition,
            'time': self.time_min,
            'nodes': 1,
        }
        found |= {'ntasks_per_node': 1, 'cpus_per_task': self.cpus, 'gpus_per_node': self.gpus or None}
        found |= {'array_parallelism': self.parallel, 'signal_delay_s': _SIGNAL_DELAY_S}
        # Not `afterok`: one run that failed would hold back all that do not start from it.
        waits = {'dependency': f'afterany:{after}'} if after else {}
        found |= {'additional_parameters': {'requeue': True} | waits}
        return {key: value for key, value in found.items() if value is not None}


@dataclass
class TrialJob:
    """One trial on a node of the cluster: trained, or gone on with when the job was queued again.

    Attributes:
        trial: with an absolute folder.
        gpus, retries, train_script: as of `Queue`; no GPU: one process on the CPU.
        queue: while it runs.
    """

    trial: Trial
    gpus: int = 1
    retries: int = 1
    train_script: Path | None = None
    queue: Queue | None = None

    def __call__(self) -> str:
        """Train; returns the state that the trial is left in."""
        self._wait_for_a_dead_holder()
        self.queue = queue = Queue(Console(width=200), self.train_script, 1, max(1, self.gpus), self.retries)
        try:
            queue.run([self.trial])
        except Stopped:
            _requeue()
        if queue.stopped:
            _requeue()
        return self.trial.state()

    def checkpoint(self) -> Any:
        """Save the training and return the job to queue; submitit calls it before the time limit."""
        from submitit.helpers import DelayedSubmission

        if self.queue is not None:
            self.queue.stop()
        return DelayedSubmission(replace(self, queue=None))

    def _wait_for_a_dead_holder(self) -> None:
        """A node that crashed leaves a lease that looks alive until it expires."""
        deadline = time.monotonic() + EXPIRES_S + 2 * HEARTBEAT_S
        while holder_of(self.trial.folder) is not None and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)


def _requeue() -> None:
    """Do what submitit does on its own signal; Slurm's SIGTERM, which comes first, it leaves to the job."""
    from submitit.core.job_environment import JobEnvironment

    number = signal.Signals[f'SIG{JobEnvironment.USR_SIG}']
    if callable(signal.getsignal(number)):
        signal.raise_signal(number)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise InputError(f'the Slurm engine needs submitit: {install_hint("slurm")}') from error
    return submitit


def submit(
    trials: Sequence[Trial],
    folder: Path,
    name: str,
    resources: Resources,
    retries: int = 1,
    cluster: str = 'slurm',
    train_script: Path | None = None,
    after: Sequence[Any] = (),
) -> list[Any]:
    """Submit trials as one array; returns submitit's jobs.

    Args:
        folder: of the scripts and logs, on a disk that the nodes share.
        name: of the array.
        cluster: 'slurm', or submitit's 'local' or 'debug' in its place.
        after: jobs of an earlier array, which has to end before these start.

    Raises:
        InputError: submitit is not installed, or there is no Slurm here.
    """
    submitit = _submitit()
    try:
        executor = submitit.AutoExecutor(folder=slurm_path(folder), cluster=cluster, slurm_max_num_timeout=_REQUEUES)
    except RuntimeError as error:  # it found no srun
        raise InputError(f'no Slurm here ({error}); --print-sbatch prints the script') from error
    if cluster == 'slurm':
        first = after[0].job_id.partition('_')[0] if after else None
        executor.update_parameters(**{f'slurm_{key}': value for key, value in resources.slurm(name, first).items()})
    else:
        for job in after:
            job.wait()
        executor.update_parameters(timeout_min=resources.time_min, gpus_per_node=resources.gpus)
    jobs = [_absolute(trial) for trial in trials]
    with executor.batch():
        return [executor.submit(TrialJob(trial, resources.gpus, retries, train_script)) for trial in jobs]


def _absolute(trial: Trial) -> Trial:
    """A trial and those that it starts from, with the folders that they have on every node."""
    earlier = None if trial.earlier is None else _absolute(trial.earlier)
    return replace(trial, folder=trial.folder.resolve(), earlier=earlier)


def by_stage(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials in the arrays that are submitted one after another: those of each stage."""
    found: dict[int, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.stage, []).append(trial)
    return [found[stage] for stage in sorted(found)]


def sbatch_script(count: int, folder: Path, name: str, resources: Resources, after: str | None = None) -> str:
    """The script that `submit` would hand to sbatch for that many trials; needs no Slurm here.

    Args:
        after: the id of an array that has to end first.
    """
    slurm = _submitit().SlurmExecutor

    class OnPaper(slurm):  # type: ignore[misc,valid-type]
        """Submits nothing, so it may be made without srun."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = OnPaper(folder=slurm_path(folder.resolve()), max_num_timeout=_REQUEUES)
    executor.update_parameters(**resources.slurm(name, after))
    if count > 1:
        executor.parameters['map_count'] = count  # as submitit sets it for an array
    # submitit has no public way to the text that it writes.
    return executor._make_submission_file_text(executor._submitit_command_str, name)
