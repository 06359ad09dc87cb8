"""The trials that wait to be run, in order; one of a later stage waits for the run that it starts from."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from openmix.benchmark.trial import Trial
from openmix.lease import holder_of

_LOOK_AGAIN_S = 2.0  # at what other processes do


class Waiting:
    """A queue of trials.

    Args:
        trials: in the order in which they are wanted.

    Attributes:
        blocked: those whose earlier stage did not finish, taken out of the queue.
    """

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._trials = list(trials)
        self._elsewhere: dict[Path, Trial] = {}  # of earlier stages, at work in another process
        self._finished: set[Path] = set()
        self._looked = 0.0
        self.blocked: list[Trial] = []

    def __len__(self) -> int:
        return len(self._trials)

    def append(self, trial: Trial) -> None:
        """Put a trial at the end."""
        self._trials.append(trial)

    def leave(self, trial: Trial) -> None:
        """Leave a trial that others start from to the process that holds it, until that lets it go."""
        self._elsewhere[trial.folder] = trial

    def take(self, busy: Collection[Path]) -> Trial | None:
        """Take out the first trial that can start; None where all wait, or none is left.

        Args:
            busy: the folders of the trials that run.
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
        """Want those again that nobody holds any more: they are finished, or were interrupted."""
        free = [trial for folder, trial in self._elsewhere.items() if holder_of(folder) is None]
        for trial in free:
            del self._elsewhere[trial.folder]
        self._trials = [*free, *self._trials]

    def _state_after(self, earlier: Trial, ours: Collection[Path], look: bool) -> str:
        """'ready', 'waits', or 'blocked' where nobody will finish the earlier stage."""
        if earlier.folder in self._finished:
            return 'ready'
        if earlier.folder in ours or (not look and len(self._elsewhere)):
            return 'waits'
        if earlier.state_at_rest() == 'done':
            self._finished.add(earlier.folder)
            return 'ready'
        return 'waits' if holder_of(earlier.folder) else 'blocked'
