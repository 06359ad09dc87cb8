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
from openmix.benchmark.length import unit_of
from openmix.benchmark.table import Table
from openmix.benchmark.text_table import text_table
from openmix.benchmark.times import clock
from openmix.benchmark.trial import STATES, Trial
from openmix.benchmark.trial_files import TrialFiles
from openmix.benchmark.trials import distinct
from openmix.lease import holder_of

REFRESH_S = 3.0
_COLOURS = {
    'done': 'green',
    'running': 'cyan',
    'failed': 'red',
    'blocked': 'red',
    'interrupted': 'yellow',
    'stale': 'yellow',
}


def pace_of(trial: Trial, files: TrialFiles | None = None) -> float | None:
    """Compute the mean seconds per epoch or iteration of a trial; None before the first line of its metrics."""
    row = (files or trial.files()).last_row
    reached, seconds = trial.length.reached(row) if trial.length else 0, row.get('time_s')
    return seconds / reached if reached and seconds else None


def seconds_left(trials: Sequence[Trial], states: Sequence[str]) -> float | None:
    """Estimate the seconds until all trials are done, from the mean speed so far and the number running in parallel.

    Training by epoch and by iteration have separate means. None if the speed of a remaining trial is unknown.
    """
    known: dict[str, list[float]] = {}
    own = [None if state == 'stale' else pace_of(trial) for trial, state in zip(trials, states, strict=True)]
    for trial, pace in zip(trials, own, strict=True):
        if trial.length and pace is not None:
            known.setdefault(trial.length.unit, []).append(pace)
    if not known:
        return None
    work = 0.0
    for trial, state, pace in zip(trials, states, own, strict=True):
        if state == 'done' or trial.length is None:
            continue
        if trial.length.unit not in known:
            return None
        mean = sum(known[trial.length.unit]) / len(known[trial.length.unit])
        at = 0 if state == 'stale' else trial.length.reached(trial.last_row())
        work += max(0, trial.length.count - at) * (pace or mean)
    return work / max(1, states.count('running'))


def summary(trials: Sequence[Trial], states: Sequence[str]) -> str:
    """Summarise: '3 done, 2 running, 5 pending; about 2 h 05 min left with 2 at a time'."""
    counts = Counter(states)
    text = ', '.join(f'{counts[state]} {state}' for state in reversed(STATES) if counts[state])
    left, running = seconds_left(trials, states), counts['running']
    if not left:
        return text
    return f'{text}; about {clock(left)} left with {running or 1} at a time'


def status(table: Table, trials: Sequence[Trial], also: Sequence[str] = ()) -> Group:
    """Show state, progress and speed of every trial, the time left, and one line per file that cannot be read.

    Args:
        table: the table.
        trials: its trials.
        also: lines to print below.
    """
    lines: list[tuple[Text | str, ...]] = []
    states: dict[Path, str] = {}
    bad: list[str] = []
    unit = unit_of([trial.length for trial in trials])
    for trial in trials:
        files, length = trial.files(), trial.length
        state, pace = trial.state(files), pace_of(trial, files)
        states[trial.folder], reached = state, length.reached(files.last_row) if length else 0
        bad += files.bad
        holder = holder_of(trial.folder) if state == 'running' else None
        words = terminal(state + (f' on {holder.host}' if holder else ''), _COLOURS.get(state, 'dim'))
        at = each = left = ''
        if length and reached:
            at = f'{reached}/{length.count}' if unit else f'{reached}/{length}'
            each = '' if pace is None else f'{_seconds(pace)}' if unit else f'{_seconds(pace)} s/{length.unit}'
            left = clock((length.count - reached) * pace) if pace and state == 'running' else ''
        name = f'search {trial.label}' if trial.kind == 'search' else trial.label
        place = (trial.cell.row, trial.cell.column, name, str(trial.seed))
        lines.append((*place, words, at, each, left, str(trial.folder)))
    paced = (unit, f's/{unit}') if unit else ('trained', 'pace')
    heads = ('row', 'column', 'trial', 'seed', 'state', *paced, 'left', 'folder')
    runs = distinct(trials)
    lacking = [
        f'{run.name}: cannot run, its earlier stage ({run.earlier.name}) is {run.earlier.state()}: {run.earlier.folder}'
        for run in runs
        if run.earlier is not None and states[run.folder] == 'blocked'
    ]
    unread = [f'cannot be read: {line}' for line in bad]
    said = [summary(runs, [states[run.folder] for run in runs]), *lacking, *unread, *also]
    return Group(text_table(heads, lines, table.title), terminal('\n'.join(said)))


def _seconds(pace: float) -> str:
    return f'{pace:.1f}' if pace >= 10 else f'{pace:.3g}'


def watch(table: Table, trials: Callable[[], Sequence[Trial]], console: Console, every: float = REFRESH_S) -> None:
    """Show the status, updated until every trial is done.

    Args:
        table: the table.
        trials: function that returns the current trials, because a finished search adds some.
        console: the terminal.
        every: seconds between updates.
    """
    with Live(console=console, auto_refresh=False, vertical_overflow='visible') as live:
        while True:
            now = trials()
            live.update(status(table, now), refresh=True)
            if all(trial.state() == 'done' for trial in now):
                return
            time.sleep(every)
