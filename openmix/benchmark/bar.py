"""How far the trials of one call are, and when they will be done: the bars of a terminal, and the time left."""

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
    """A bar a running trial and one of all, in epochs or iterations; in trials where some count these and some those.

    Args:
        console: bars are drawn on a terminal alone.
        trials: those to run, each once.
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
        # What earlier calls have trained says nothing of the pace of this one.
        self._before = {trial.folder: self._trained(trial) if trial.resumable() else 0.0 for trial in trials}
        self._total = sum(self._weight(trial) for trial in trials)
        self._ended: list[Trial] = []
        self._all = self.progress.add_task('all', total=self._total, note='')

    def add(self, trial: Trial) -> TaskID:
        """A bar for a trial that starts."""
        total = trial.length.count if trial.length else None
        return self.progress.add_task(visible(trial.name), total=total, note='')

    def count(self, trial: Trial) -> None:
        """Take a trial as ended, however it did."""
        self._ended.append(trial)

    def left(self, running: Sequence[Trial] = ()) -> str:
        """', about 3 min left' by the pace of this call so far; '' where there is none.

        Args:
            running: trials whose part that is trained counts, beside those that have ended.
        """
        units = self._units(running)
        before = sum(self._before[trial.folder] for trial in (*self._ended, *running))
        if not before < units < self._total:
            return ''
        pace = (time.monotonic() - self._began) / (units - before)
        return f', about {clock(pace * (self._total - units))} left'

    def show(self, running: Sequence[tuple[Trial, TaskID]]) -> None:
        """Renew the bars."""
        for trial, task in running:
            row, metric = trial.last_row(), trial.cell.metric
            note = f'{metric} {row[metric]:.2f}' if metric in row else ''
            self.progress.update(task, completed=trial.length.reached(row) if trial.length else 0, note=note)
        trials = [trial for trial, _ in running]
        self.progress.update(self._all, completed=self._units(trials), note=self.left(trials).removeprefix(', '))

    def _units(self, running: Sequence[Trial]) -> float:
        return sum(map(self._weight, self._ended)) + sum(map(self._trained, running))

    def _weight(self, trial: Trial) -> int:
        """What a trial counts of the whole."""
        return trial.length.count if trial.length and self._unit else 1

    def _trained(self, trial: Trial) -> float:
        """What of its weight a trial has trained by its newest line."""
        if trial.length is None:
            return 0.0
        return self._weight(trial) * min(1.0, trial.length.reached(trial.last_row()) / trial.length.count)
