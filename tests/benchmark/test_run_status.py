"""Test `status`: progress, speed and time left, printed once or live."""

import io
import json

from rich.console import Console

from openmix.benchmark import progress
from openmix.benchmark.progress import pace_of, seconds_left, status, summary, watch
from openmix.lease import Lease, beside


def at_epoch(trial, epoch, seconds):
    trial.folder.mkdir(parents=True, exist_ok=True)
    (trial.folder / 'metrics.jsonl').write_text(json.dumps({'epoch': epoch, 'iter': 9, 'time_s': seconds}) + '\n')


def shown(part):
    said = io.StringIO()
    Console(file=said, width=250).print(part)
    return said.getvalue()


def test_pace_and_time_left(bench):
    first, second, third = bench.trials(rows='Mixup')[:3]
    states = ['running', 'running', 'pending']
    assert seconds_left([first, second, third], states) is None
    at_epoch(first, 2, 20.0)
    assert pace_of(first) == 10.0
    assert pace_of(second) is None
    # Of 4 epochs 2, 4 and 4 are left at 10 s each, two at a time.
    assert seconds_left([first, second, third], states) == 50.0
    at_epoch(second, 1, 30.0)
    assert seconds_left([first, second, third], states) == (2 * 10 + 3 * 30 + 4 * 20) / 2
    assert summary([first, second, third], states) == '1 pending, 2 running; about 1 min 35 s left with 2 at a time'
    assert summary([first], ['done']) == '1 done'


def test_a_running_trial_is_shown_with_its_epoch(bench):
    trials = bench.trials(rows='Mixup', columns='MCE')
    at_epoch(trials[0], 1, 30.0)
    lease = Lease.take(beside(trials[0].folder))
    text = shown(status(bench.table, trials))
    lease.release()
    (line,) = (line for line in text.splitlines() if 'running on' in line)
    assert [part in line for part in ('1/4', '30.0', '1 min 30 s')] == [True] * 3
    assert '1 pending, 1 running; about 3 min 30 s left with 1 at a time' in text


def test_watch_ends_when_all_is_done(bench, monkeypatch):
    seen = []

    def trials():
        found = bench.trials(rows='Mixup', columns='MCE', trials=1)
        seen.append(found[0].state())
        if len(seen) == 2:
            bench.run(rows='Mixup', columns='MCE', trials=1)
        return found

    said = io.StringIO()
    watch(bench.table, trials, Console(file=said, width=250, force_terminal=True), every=0)
    assert seen == ['pending', 'pending']
    assert '1 done' in said.getvalue()
    assert progress.REFRESH_S < 10
