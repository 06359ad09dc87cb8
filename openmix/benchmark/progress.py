"""The states of a table's trials, their speed and the time left; printed once or live."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from openmix.benchmark.escape import terminal
from openmix.benchmark.grids import grid
from openmix.benchmark.table import Table
from openmix.benchmark.times import clock
from openmix.benchmark.trial_files import TrialFiles
from openmix.benchmark.trials import STATES, Trial, distinct
from openmix.lease import holder_of

REFRESH_S = 3.0
_COLOURS = {'done': 'green', 'running': 'cyan', 'failed': 'red', 'interrupted': 'yellow', 'stale': 'yellow'}


def seconds_an_epoch(trial: Trial, files: TrialFiles | None = None) -> float | None:
    """Mean seconds per epoch that the trial has trained; None before the first."""
    row = (files or trial.files()).last_epoch
    epoch, seconds = row.get('epoch'), row.get('time_s')
    return seconds / epoch if epoch and seconds else None


def seconds_left(trials: Sequence[Trial], states: Sequence[str]) -> float | None:
    """Seconds until all trials are done, at the mean pace so far and with as many at a time as now.

    None where nothing has run yet.
    """
    paces = [pace for trial in trials if (pace := seconds_an_epoch(trial)) is not None]
    if not paces:
        return None
    mean, work = sum(paces) / len(paces), 0.0
    for trial, state in zip(trials, states, strict=True):
        if state != 'done':
            at = 0 if state == 'stale' else trial.last_epoch().get('epoch', 0)
            work += max(0, (trial.epochs or 0) - at) * (seconds_an_epoch(trial) or mean)
    return work / max(1, states.count('running'))


def summary(trials: Sequence[Trial], states: Sequence[str]) -> str:
    """'3 done, 2 running, 5 pending; about 2 h 05 min left with 2 at a time'."""
    counts = Counter(states)
    text = ', '.join(f'{counts[state]} {state}' for state in reversed(STATES) if counts[state])
    left, running = seconds_left(trials, states), counts['running']
    if not left:
        return text
    return f'{text}; about {clock(left)} left with {running or 1} at a time'


def status(table: Table, trials: Sequence[Trial], also: Sequence[str] = ()) -> Group:
    """The state, epoch and pace of every trial, the time left, and one line a file that cannot be read.

    Args:
        also: lines that stand below.
    """
    lines: list[tuple[Text | str, ...]] = []
    states: dict[Path, str] = {}
    bad: list[str] = []
    for trial in trials:
        files = trial.files()
        state, pace = trial.state(files), seconds_an_epoch(trial, files)
        states[trial.folder], epoch = state, files.last_epoch.get('epoch')
        bad += files.bad
        holder = holder_of(trial.folder) if state == 'running' else None
        words = terminal(state + (f' on {holder.host}' if holder else ''), _COLOURS.get(state, 'dim'))
        at = f'{epoch}/{trial.epochs or "?"}' if epoch else ''
        left = clock((trial.epochs - epoch) * pace) if pace and epoch and trial.epochs and state == 'running' else ''
        name = f'{trial.kind} {trial.folder.parent.name}' if trial.kind == 'search' else str(trial.index)
        place = (trial.cell.row, trial.cell.column, name, str(trial.seed))
        lines.append((*place, words, at, '' if pace is None else f'{pace:.1f}', left, str(trial.folder)))
    heads = ('row', 'column', 'trial', 'seed', 'state', 'epoch', 's/epoch', 'left', 'folder')
    runs = distinct(trials)
    said = [summary(runs, [states[run.folder] for run in runs]), *(f'cannot be read: {line}' for line in bad), *also]
    return Group(grid(heads, lines, table.title), terminal('\n'.join(said)))


def watch(table: Table, trials: Callable[[], Sequence[Trial]], console: Console, every: float = REFRESH_S) -> None:
    """The status, renewed until every trial is done.

    Args:
        trials: asked anew each time: a finished search adds those of its choice.
    """
    with Live(console=console, auto_refresh=False, vertical_overflow='visible') as live:
        while True:
            now = trials()
            live.update(status(table, now), refresh=True)
            if all(trial.state() == 'done' for trial in now):
                return
            time.sleep(every)
