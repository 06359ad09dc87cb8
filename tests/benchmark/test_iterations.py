"""Plan, run, kill, resume and report a table that trains by iteration on real digits, through its commands."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from waiting import SECONDS, until

from openmix.shipped import tools_path

pytestmark = pytest.mark.slow


@pytest.fixture
def table(iterations):
    return iterations / 'mine.yaml'


def words(*args):
    return [sys.executable, str(tools_path('benchmark.py')), *map(str, args)]


def test_a_table_by_iteration_from_plan_to_report(table, benchmark_py):
    work = table.parent / 'work'
    at = ('--work-dir', work)
    done = benchmark_py('plan', table, *at, '--dry-run', 2)
    assert done.returncode == 0, done.stderr
    assert ('iterations' in done.stdout, '400' in done.stdout, 'time: about' in done.stdout) == (True, True, True)
    assert 'unknown' not in done.stdout

    # On a terminal, for the bar; stopped when the first training is under way.
    ours, theirs = pty.openpty()
    runner = subprocess.Popen(
        words('run', table, *at, '--jobs', 1), stdout=theirs, stderr=theirs, env={**os.environ, 'COLUMNS': '200'}
    )
    os.close(theirs)
    shown = b''
    try:
        metrics = work / 'vanilla/mce/trial0/metrics.jsonl'
        os.set_blocking(ours, False)

        def some_lines():
            nonlocal shown
            with contextlib.suppress(OSError):  # nothing to read now
                shown += os.read(ours, 1 << 16)
            return metrics.is_file() and len(metrics.read_text().splitlines()) >= 2 and b'left' in shown

        assert until(some_lines), shown
        status = benchmark_py('status', table, *at)
        runner.send_signal(signal.SIGINT)
        os.set_blocking(ours, True)
        while True:  # what is not read would block it
            try:
                if not (found := os.read(ours, 1 << 16)):
                    break
            except OSError:  # the terminal has no other end any more
                break
            shown += found
        assert runner.wait(SECONDS) == 130
    finally:
        runner.kill()
        os.close(ours)
    assert b'/800' in shown  # of the bar: both trainings, in iterations
    assert b' left' in shown
    assert status.returncode == 0, status.stderr
    (line,) = [line for line in status.stdout.splitlines() if 'running on' in line]
    assert ('/400' in line, ' s ' in line) == (True, True)
    assert 's/iteration' in status.stdout
    assert ' left with 1 at a time' in status.stdout
    log = (work / 'vanilla/mce/trial0/log.txt').read_text()
    assert 'iteration 20/400' in log
    assert ', left 0:' in log

    done = benchmark_py('run', table, *at, '--jobs', 1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Vanilla / MCE, trial 0: resumed' in done.stdout
    for row in ('vanilla', 'mixup'):
        result = json.loads((work / row / 'mce/trial0/result.json').read_text())
        assert [line['iter'] for line in result['history']] == list(range(20, 401, 20))
        assert result['iterations'] == 400
    done = benchmark_py('report', table, *at)
    assert done.returncode == 0, done.stderr
    assert 'median of the last 15 validations' in done.stdout
    assert 'accuracy/top1 over iterations' in (work / 'report.html').read_text()


def test_what_a_dry_run_costs_is_a_file(table, tmp_path, nursery):
    out = tmp_path / 'new/cost.json'
    done = nursery.run(['train.py', table.parent / 'recipe.py', '--dry-run', 3, '--out', out], tmp_path)
    assert done.returncode == 0, done.stderr
    cost = json.loads(out.read_text())
    assert (cost['planned_iterations'], cost['planned_epochs']) == (400, 80.0)
    assert cost['hours'] == pytest.approx(400 * cost['seconds_per_iteration'] / 3600)
    assert f'dry run: {cost["seconds_per_iteration"]:.3f} s an iteration' in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ['mine.yaml', 'new', 'recipe.py']
