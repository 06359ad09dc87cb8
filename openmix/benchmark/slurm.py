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

_SIGNAL_DELAY_S = 120  # seconds from the signal to the end of a job, in which trainings are saved
_REQUEUES = 1000  # a training that is longer than the time limit is requeued as often as needed
_LOOK_AGAIN_S = 5


@dataclass(frozen=True)
class Resources:
    """The resources of one job of a Slurm array.

    Attributes:
        partition: name of the partition; None: the cluster's default.
        time_min: minutes until the job is saved and queued again.
        gpus: number of GPUs of its training; 0: the CPU.
        cpus: number of cores.
        parallel: number of jobs that run at the same time.
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
        """Return the parameters of submitit's Slurm executor for these resources.

        Args:
            name: name of the jobs.
            after: id of an array that must end first.
        """
        found: dict[str, Any] = {
            'job_name': slurm_name('the name of the jobs', name),
            'partition': self.partition,
            'time': self.time_min,
            'nodes': 1,
        }
        found |= {'ntasks_per_node': 1, 'cpus_per_task': self.cpus, 'gpus_per_node': self.gpus or None}
        found |= {'array_parallelism': self.parallel, 'signal_delay_s': _SIGNAL_DELAY_S}
        # Not `afterok`: one failed run would then block all others, also those that do not start from it.
        waits = {'dependency': f'afterany:{after}'} if after else {}
        found |= {'additional_parameters': {'requeue': True} | waits}
        return {key: value for key, value in found.items() if value is not None}


@dataclass
class TrialJob:
    """A job that trains one trial on a node of the cluster, or resumes it when the job was requeued.

    Attributes:
        trial: the trial, with an absolute folder.
        gpus, retries, train_script: see `Queue`; without GPUs, one process on the CPU.
        queue: the queue while the job runs.
    """

    trial: Trial
    gpus: int = 1
    retries: int = 1
    train_script: Path | None = None
    queue: Queue | None = None

    def __call__(self) -> str:
        """Train the trial and return its final state."""
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
        """Wait until a lease of a crashed node has expired."""
        deadline = time.monotonic() + EXPIRES_S + 2 * HEARTBEAT_S
        while holder_of(self.trial.folder) is not None and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)


def _requeue() -> None:
    """Requeue this job as submitit does on its own signal; Slurm sends SIGTERM earlier, which submitit ignores."""
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
    """Submit trials as one array; return submitit's jobs.

    Args:
        trials: the trials.
        folder: folder for scripts and logs, on a disk that the nodes share.
        name: name of the array.
        resources: resources of each job.
        retries: see `Queue`.
        cluster: 'slurm', or instead submitit's 'local' or 'debug'.
        train_script: see `training.command`.
        after: jobs of an earlier array, which must end before these start.

    Raises:
        InputError: submitit is not installed, or there is no Slurm on this machine.
    """
    submitit = _submitit()
    try:
        executor = submitit.AutoExecutor(folder=slurm_path(folder), cluster=cluster, slurm_max_num_timeout=_REQUEUES)
    except RuntimeError as error:  # submitit found no srun
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
    """Make the folders of a trial and of its earlier stages absolute, so that they are valid on every node."""
    earlier = None if trial.earlier is None else _absolute(trial.earlier)
    return replace(trial, folder=trial.folder.resolve(), earlier=earlier)


def by_stage(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group trials by stage, first stages first; each group is submitted as one array."""
    found: dict[int, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.stage, []).append(trial)
    return [found[stage] for stage in sorted(found)]


def behind_running(trials: Sequence[Trial]) -> list[Trial]:
    """List the trials with an earlier stage, at any depth, that another process trains.

    No array can wait for that process, and a job would hold its GPUs while it waits.
    """

    def waits(trial: Trial) -> bool:
        before = trial.earlier
        return before is not None and (before.state() == 'running' or (before.state() != 'done' and waits(before)))

    return [trial for trial in trials if waits(trial)]


def sbatch_script(count: int, folder: Path, name: str, resources: Resources, after: str | None = None) -> str:
    """Write the script that `submit` would pass to sbatch for a number of trials; this needs no Slurm.

    Args:
        count: number of trials.
        folder: folder for scripts and logs.
        name: name of the array.
        resources: resources of each job.
        after: id of an array that must end first.
    """
    slurm = _submitit().SlurmExecutor

    class OnPaper(slurm):  # type: ignore[misc,valid-type]
        """An executor that does not submit and can therefore be built without srun."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = OnPaper(folder=slurm_path(folder.resolve()), max_num_timeout=_REQUEUES)
    executor.update_parameters(**resources.slurm(name, after))
    if count > 1:
        executor.parameters['map_count'] = count  # as submitit sets it for an array
    # submitit has no public function that returns the script.
    return executor._make_submission_file_text(executor._submitit_command_str, name)
