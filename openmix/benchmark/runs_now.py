"""The runs of a table that are not done, on its served page: state, progress, time left, and a small curve."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from openmix.benchmark.escape import html as escape
from openmix.benchmark.length import row_key
from openmix.benchmark.markup import attributes, element, opens, scrolled
from openmix.benchmark.panels import scale
from openmix.benchmark.progress import pace_of, summary
from openmix.benchmark.times import clock
from openmix.benchmark.trial import Trial
from openmix.benchmark.trial_files import parse_row, tail
from openmix.benchmark.trials import distinct
from openmix.errors import InputError

_SHOWN = ('running', 'failed', 'blocked', 'interrupted', 'stale')
_WIDE, _HIGH = 120, 26


def states_of(trials: Sequence[Trial]) -> dict[Path, str]:
    """Return the state of each run, by its folder."""
    return {trial.folder: trial.state() for trial in distinct(trials)}


def finished(states: dict[Path, str]) -> int:
    """Count the runs that are done."""
    return Counter(states.values())['done']


def runs_now(trials: Sequence[Trial], states: dict[Path, str], root: Path) -> str:
    """Write the runs that are not done as HTML; links are relative to `root`."""
    runs = distinct(trials)
    rows = [_row(run, state, root) for state in _SHOWN for run in runs if states[run.folder] == state]
    said = f'<p>{escape(summary(runs, [states[run.folder] for run in runs]))}</p>\n'
    if not rows:
        return said
    heads = ''.join(f'<th scope="col">{head}</th>' for head in ('Run', 'State', 'Trained', 'Left', 'Metric', ''))
    body = '\n'.join(rows)
    grid = f'<table class="now"><thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    return said + scrolled(grid, 'Runs that are not done')


def _row(trial: Trial, state: str, root: Path) -> str:
    files, length, metric = trial.files(), trial.length, trial.cell.metric
    reached = length.reached(files.last_row) if length else 0
    trained = left = value = ''
    if length and reached:
        bar = f'<progress{attributes(max=length.count, value=reached)}></progress>'
        trained = f'{bar} {reached}/{escape(str(length))}'
        pace = pace_of(trial, files)
        left = clock((length.count - reached) * pace) if pace and state == 'running' else ''
    if math.isfinite(files.last_row.get(metric, math.nan)):
        value = f'{files.last_row[metric]:.2f} {_sparkline(trial)}'
    log = trial.folder / 'log.txt'
    name = escape(trial.name)
    html = f'<th scope="row">{opens(name, log, root, True) if log.is_file() else name}</th>'
    cells = (element('span', state, class_='state'), trained, left, value, '; '.join(map(escape, files.bad)))
    return element('tr', html + ''.join(f'<td>{one}</td>' for one in cells))


def _sparkline(trial: Trial) -> str:
    """Draw the metric over the newest lines of the run's metrics; '' for fewer than two."""
    metric, key = trial.cell.metric, row_key(trial.length.unit if trial.length else 'epoch')
    points = []
    for line in tail(trial.folder / 'metrics.jsonl').splitlines():
        with contextlib.suppress(InputError):
            row = parse_row(line)
            if key in row and math.isfinite(row.get(metric, math.nan)):
                points.append((row[key], row[metric]))
    if len(points) < 2:
        return ''
    x, y = scale([at for at, _ in points], 2, _WIDE - 2), scale([value for _, value in points], _HIGH - 3, 3)
    drawn = ' '.join(f'{x(at):.1f},{y(value):.1f}' for at, value in points)
    curve = f'<polyline points="{drawn}" class="curve"/>'
    return f'<svg class="spark" width="{_WIDE}" height="{_HIGH}" aria-hidden="true">{curve}</svg>'
