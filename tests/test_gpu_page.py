"""Test `make gpu`: the whole path without a GPU, shrunk, and what it does with parts that fail, stop or are done."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import gpu
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent


def part(name, code, resumes=False):
    return gpu.Part(name, ('-c', code), 0.5, resumes, gpu.as_code)


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Return a function that runs the script with other parts and returns its exit code, output and page."""

    def run(parts, minutes=1.0):
        monkeypatch.setattr(gpu, 'parts_of', lambda on_gpu, work: parts)
        words = ['gpu.py', '--minutes', str(minutes), '--work-dir', str(tmp_path), '--out', str(tmp_path / 'page.md')]
        monkeypatch.setattr(sys, 'argv', words)
        code = 0
        try:
            gpu.main()
        except SystemExit as ended:
            code = ended.code
        return code, capsys.readouterr().out, (tmp_path / 'page.md').read_text()

    return run


def test_parts_that_ended_are_not_run_again(call, tmp_path):
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); print('one')"
    code, said, page = call([part('Tests', count), part('Speed', 'raise SystemExit(3)')])
    assert code == 1
    assert 'Speed: failed, exit code 3' in said
    assert '## Tests' in page
    assert 'one' in page
    code, said, page = call([part('Tests', count), part('Speed', "print('two')")])
    assert code == 0
    assert 'Tests: done before' in said
    assert (tmp_path / 'count').read_text() == 'x'
    assert 'one' in page
    assert 'two' in page


def test_a_part_is_asked_to_save_itself_within_the_time(call):
    saves = (
        'import signal, sys, time\n'
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(0)))\n"
        "print('began', flush=True)\n"
        'time.sleep(100)'
    )
    started = time.monotonic()
    code, said, page = call([part('Rows', saves, resumes=True), part('Last', "print('end')")], minutes=0.2)
    assert time.monotonic() - started < 40
    assert code == 0
    assert 'Rows: stopped' in said
    assert 'saved' in page
    state_of_rows = page.partition('## Rows')[2].partition('## Last')[0]
    assert 'stopped: ' in state_of_rows
    code, said, _ = call([part('Rows', "print('went on')", resumes=True)])
    assert 'Rows: done' in said


def test_what_pytest_says_is_told():
    text = 'x\nFAILED tests/test_cuda.py::test_a[b] - assert\n2 failed, 80 passed in 30.00s\n'
    assert gpu.tests_told(text) == '- 2 failed, 80 passed in 30.00s\n- tests/test_cuda.py::test_a[b]\n'
    assert gpu.tests_told('killed') == '- did not end\n'


def test_wrong_minutes_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['gpu.py', '--minutes', '0'])
    with pytest.raises((SystemExit, InputError)) as ended:
        gpu.main()
    assert '--minutes must be above 0' in capsys.readouterr().err or isinstance(ended.value, InputError)


def test_the_gpu_runs_the_same_parts(tmp_path):
    here, there = gpu.parts_of(False, tmp_path), gpu.parts_of(True, tmp_path)
    assert [one.name for one in here] == [one.name for one in there]
    assert [one.words[:2] for one in here] == [one.words[:2] for one in there]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='on a GPU the parts are not shrunk')
def test_the_whole_path_on_the_cpu(tmp_path):
    words = [sys.executable, 'benchmarks/gpu.py', '--minutes', '8', '--work-dir', str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=560, check=False)
    page = (tmp_path / 'page.md').read_text()
    assert done.returncode == 0, done.stdout + done.stderr + page
    state = json.loads((tmp_path / 'gpu.json').read_text())
    assert {name: known['code'] for name, known in state.items()} == dict.fromkeys(
        ('Tests', 'Speed', 'Breakdown of a step', 'Rows'), 'done'
    )
    assert 'passed' in state['Tests']['text']
    assert '**loss' in state['Speed']['text']
    assert '1/1' in state['Rows']['text']
    assert 'No GPU' in page
