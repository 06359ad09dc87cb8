"""A queue of trials to run, in order; a trial of a later stage waits for the run that it starts from."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from openmix.benchmark.trial import Trial
from openmix.lease import holder_of

_LOOK_AGAIN_S = 2.0  # interval of checks of the runs of other processes


class Waiting:
    """A queue of trials.

    Args:
        trials: the trials, in the order in which to run them.

    Attributes:
        blocked: trials whose earlier stage did not finish; they are removed from the queue.
    """

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._trials = list(trials)
        self._elsewhere: dict[Path, Trial] = {}  # earlier stages that another process runs
        self._finished: set[Path] = set()
        self._looked = 0.0
        self.blocked: list[Trial] = []

    def __len__(self) -> int:
        return len(self._trials)

    def append(self, trial: Trial) -> None:
        """Append a trial."""
        self._trials.append(trial)

    def leave(self, trial: Trial) -> None:
        """Leave the trial of an earlier stage to the process that runs it, until that process releases it."""
        self._elsewhere[trial.folder] = trial

    def take(self, busy: Collection[Path]) -> Trial | None:
        """Remove and return the first trial that can start; None if all wait or none is left.

        Args:
            busy: the folders of the running trials.
        """
        look = time.monotonic() - self._looked >= _LOOK_AGAIN_S
        if look:
            self._looked = time.monotonic()
            self._take_back()
        ours = {*busy, *self._elsewhere, *(trial.folder for trial in self._trials)}
        found = None
        kept = []
        for trial in self._trials:
            state = 'ready' if found is None else 'waits'
            if trial.earlier is not None:
                state = self._state_after(trial.earlier, ours, look) if found is None else 'waits'
            if state == 'ready':
                found = trial
            elif state == 'waits':
                kept.append(trial)
            else:
                self.blocked.append(trial)
        self._trials = kept
        return found

    def _take_back(self) -> None:
        """Put released trials back in front of the queue: they are finished or were interrupted."""
        free = [trial for folder, trial in self._elsewhere.items() if holder_of(folder) is None]
        for trial in free:
            del self._elsewhere[trial.folder]
        self._trials = [*free, *self._trials]

    def _state_after(self, earlier: Trial, ours: Collection[Path], look: bool) -> str:
        """Return 'ready', 'waits', or 'blocked' if no process will finish the earlier stage."""
        if earlier.folder in self._finished:
            return 'ready'
        if earlier.folder in ours or (not look and len(self._elsewhere)):
            return 'waits'
        if earlier.state_at_rest() == 'done':
            self._finished.add(earlier.folder)
            return 'ready'
        return 'waits' if holder_of(earlier.folder) else 'blocked'
