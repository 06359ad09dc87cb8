"""Progress bars of the trials of one call, with an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from openmix.benchmark.escape import visible
from openmix.benchmark.length import unit_of
from openmix.benchmark.times import clock
from openmix.benchmark.trial import Trial


class Bar:
    """One progress bar per running trial and one for all trials.

    The bar of all counts epochs or iterations, or trials if some train by epoch and some by iteration.

    Args:
        console: bars are drawn only if it is a terminal.
        trials: the trials to run, each once.
    """

    def __init__(self, console: Console, trials: Sequence[Trial]) -> None:
        self.progress = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn('{task.fields[note]}', markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._began = time.monotonic()
        self._unit = unit_of([trial.length for trial in trials])
        # Progress from earlier calls must not count in the speed of this one.
        self._before = {trial.folder: self._trained(trial) if trial.resumable() else 0.0 for trial in trials}
        self._total = sum(self._weight(trial) for trial in trials)
        self._ended: list[Trial] = []
        self._all = self.progress.add_task('all', total=self._total, note='')

    def add(self, trial: Trial) -> TaskID:
        """Add a bar for a trial that starts."""
        total = trial.length.count if trial.length else None
        return self.progress.add_task(visible(trial.name), total=total, note='')

    def count(self, trial: Trial) -> None:
        """Count a trial as ended, finished or failed."""
        self._ended.append(trial)

    def left(self, running: Sequence[Trial] = ()) -> str:
        """Return ', about 3 min left', estimated from the speed of this call; '' before there is a speed.

        Args:
            running: the running trials; their progress counts beside the trials that ended.
        """
        # What a trial that failed did not train has taken no time, and takes none.
        trained = sum(self._trained(trial) - self._before[trial.folder] for trial in (*self._ended, *running))
        ahead = self._total - self._units(running)
        if trained <= 0 or ahead <= 0:
            return ''
        return f', about {clock((time.monotonic() - self._began) / trained * ahead)} left'

    def show(self, running: Sequence[tuple[Trial, TaskID]]) -> None:
        """Update the bars."""
        for trial, task in running:
            row, metric = trial.last_row(), trial.cell.metric
            note = f'{metric} {row[metric]:.2f}' if metric in row else ''
            self.progress.update(task, completed=trial.length.reached(row) if trial.length else 0, note=note)
        trials = [trial for trial, _ in running]
        self.progress.update(self._all, completed=self._units(trials), note=self.left(trials).removeprefix(', '))

    def _units(self, running: Sequence[Trial]) -> float:
        return sum(map(self._weight, self._ended)) + sum(map(self._trained, running))

    def _weight(self, trial: Trial) -> int:
        """Return a trial's weight in the total: its epochs or iterations; 1 if trials of both kinds are mixed."""
        return trial.length.count if trial.length and self._unit else 1

    def _trained(self, trial: Trial) -> float:
        """Return the part of a trial's weight that is trained, by the newest line of its metrics."""
        if trial.length is None:
            return 0.0
        return self._weight(trial) * min(1.0, trial.length.reached(trial.last_row()) / trial.length.count)
