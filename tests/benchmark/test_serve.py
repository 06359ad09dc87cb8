"""The page served to a browser: what it shows of runs, which files it gives, whom it answers."""

import http.client
import re
import signal
import threading
import urllib.error
import urllib.request

import pytest
from processes import TOOLS, start

from openmix.benchmark.page import page
from openmix.benchmark.runs_now import finished, runs_now, states_of
from openmix.benchmark.serve import inside, server
from openmix.errors import InputError
from openmix.lease import Lease, beside


@pytest.fixture
def served(tmp_path):
    """Serve a folder; return a function that asks for a path and returns status, headers and text."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/log.txt').write_text('a line <b>')
    (tmp_path / 'run/page.html').write_text('<script>1</script>')
    (tmp_path.parent / 'secret.txt').write_text('no')
    (tmp_path / 'away').symlink_to(tmp_path.parent / 'secret.txt')
    found = server(0, tmp_path, lambda: 'whole', lambda: (3, 'others'))
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()

    def ask(path, **headers):
        asked = urllib.request.Request(f'http://127.0.0.1:{found.server_address[1]}{path}', headers=headers)
        try:
            answer = urllib.request.urlopen(asked, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers, answer.read().decode()

    ask.port = found.server_address[1]
    yield ask
    found.shutdown()
    found.server_close()
    thread.join(10)


def test_the_page_what_runs_now_and_files(served):
    assert served('/')[0::2] == (200, 'whole')
    status, headers, text = served('/now')
    assert (status, headers['X-Done'], text) == (200, '3', 'others')
    status, headers, text = served('/run/log.txt')
    assert (status, headers['Content-Type'], text) == (200, 'text/plain; charset=utf-8', 'a line <b>')
    assert served('/run/page.html')[1]['Content-Type'] == 'text/plain; charset=utf-8'  # shown, never run
    assert '<a href="log.txt">' in served('/run/')[2]


@pytest.mark.parametrize(
    'path', ['/../secret.txt', '/run/../../secret.txt', '/%2e%2e/secret.txt', '/away', '/none', '/%00']
)
def test_nothing_outside_the_folder(served, path):
    assert served(path)[0] == 404


def test_an_address_that_is_none_is_answered(served):
    asked = http.client.HTTPConnection('127.0.0.1', served.port, timeout=10)
    asked.putrequest('GET', 'http://[', skip_host=True)
    asked.putheader('Host', 'localhost')
    asked.endheaders()
    with asked.getresponse() as answer:
        assert answer.status == 400


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    words = [TOOLS / 'benchmark.py', 'serve', 'quickstart', '--work-dir', tmp_path / 'runs', '--port', '0']
    command = start(words, tmp_path / 'said.txt')
    try:
        command.wait_for('Ctrl-C ends it')
        (address,) = re.findall(r'http://[\d.:]+/', command.said)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert 'pending' in answer.read().decode()
        command.to_all(signal.SIGINT)
        assert command.ends(30) == 130
        assert 'Traceback' not in command.said
    finally:
        command.clear()
    assert not (tmp_path / 'runs').exists()


def test_a_page_of_another_name_is_not_answered(served):
    assert served('/', Host='attacker.example:80')[0] == 403
    assert served('/', Host='localhost:8765')[0] == 200


def test_a_taken_port_is_one_line(tmp_path):
    with server(0, tmp_path, str, lambda: (0, '')) as first, pytest.raises(InputError, match='give another one'):
        server(first.server_address[1], tmp_path, str, lambda: (0, ''))
    assert inside(tmp_path, 'x' * 5000) is None


def test_what_runs_is_shown_with_its_progress(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    trials = bench.trials(trials=1)
    running = next(trial for trial in trials if trial.cell.row == 'CutMix')
    running.folder.mkdir(parents=True)
    rows = [
        '{"epoch": 1, "iter": 10, "accuracy/top1": 30, "time_s": 2}',
        '{"epoch": 2, "iter": 20, "accuracy/top1": 40.5, "time_s": 4}',
    ]
    (running.folder / 'metrics.jsonl').write_text('\n'.join([*rows, '']))
    lease = Lease.take(beside(running.folder))
    states = states_of(trials)
    html = runs_now(trials, states, bench.work_dir)
    lease.release()
    assert finished(states) == 1
    assert '1 done, 3 pending, 1 running' in html
    assert 'max="4" value="2"' in html
    assert '40.50' in html
    assert '<polyline' in html
    whole = page(bench.table, bench.records(trials=1), bench.work_dir, now=(1, html))
    assert 'data-done="1"' in whole
    assert "fetch('/now')" in whole
