"""Test the output of the command on terminals of several widths and through a pipe."""

import os
import pty
import re
import subprocess
import sys

import pytest

from openmix.benchmark.table import load_table, table_names
from openmix.shipped import tools_path

LOADED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit:
    pass
print('LOADED', *(name for name in ('torch', 'timm', 'scipy', 'matplotlib') if name in sys.modules), file=sys.stderr)
"""


def on_a_terminal(*args, columns=80):
    """Run the command on a pseudo-terminal of a given width; return its output without colours."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(tools_path('benchmark.py')), *map(str, args)]
    environment = {**os.environ, 'COLUMNS': str(columns), 'TERM': 'xterm'}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    found = b''
    try:
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            found += piece
        assert process.wait(timeout=300) == 0, found
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', found.decode()).replace('\r\n', '\n')


@pytest.mark.parametrize(
    'args',
    [
        ('--help',),
        ('run', '--help'),
        ('list',),
        ('show', 'quickstart'),
        ('plan', 'decoupled_mixup/table1'),
        ('status', 'quickstart'),
        ('config', 'quickstart', 'Mixup', 'MCE'),
        ('run', 'quickstart', '--rows', 'nothing'),
        ('run', 'quickstrat'),
        ('show', '--rows', 'Mixup'),
        ('plan', 'quickstart', '--trials', '999999999999'),
        ('plan', 'quickstart', '--cfg-options', 'model.polcy.alpha=1'),
        ('frobnicate',),
    ],
    ids=' '.join,
)
def test_answers_without_loading_torch(args, tmp_path):
    command = [sys.executable, '-c', LOADED, str(tools_path('benchmark.py')), *args]
    environment = {**os.environ, 'PYTHONPATH': str(tools_path('').parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment)
    assert done.stderr.splitlines()[-1] == 'LOADED'
    assert not list(tmp_path.iterdir())


def test_names_are_whole_at_80_columns():
    text = on_a_terminal('list')
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(re.search(rf'(?m)^\W*{re.escape(name)}\s', text) for name in table_names())


@pytest.mark.parametrize('name', ['decoupled_mixup/table1', 'automatic_mixup/table2'])
def test_cells_are_whole_at_80_columns(name):
    text = on_a_terminal('show', name)
    table = load_table(name)
    assert '…' not in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(re.search(rf'(?m)^\W*{re.escape(row)}\s', text) for row in table.rows)
    for column in table.columns:  # its parts stand below each other
        assert all(part in text for part in column.split(' / '))
    printed = {str(cell.published) for cell in table.cells if cell.published is not None}
    assert all(number in text for number in printed)


@pytest.mark.parametrize('args', [('list',), ('show', 'decoupled_mixup/table1'), ('plan', 'quickstart')])
def test_a_pipe_gets_whole_lines_without_padding(args, benchmark_py):
    done = benchmark_py(*args)
    assert done.returncode == 0, done.stderr
    assert '…' not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    assert '\x1b' not in done.stdout
    if args[0] == 'plan':
        assert re.search(r'^Vanilla +│ MCE +│ 0 .*│ run ', done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    'verb', ['list', 'show', 'show decoupled_mixup/table1 --format json', 'plan decoupled_mixup/table1']
)
def test_a_closed_pipe_is_no_traceback(verb):
    words = ' '.join([sys.executable, str(tools_path('benchmark.py')), verb])
    done = subprocess.run(['bash', '-c', f'{words} | head -n 1'], capture_output=True, text=True, timeout=300)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ''


def test_a_terminal_of_ascii_alone_is_answered(benchmark_py):
    done = benchmark_py('show', 'quickstart', env={**os.environ, 'PYTHONIOENCODING': 'ascii', 'LC_ALL': 'C'})
    assert done.returncode == 0, done.stderr
    assert 'Mixup' in done.stdout


@pytest.mark.parametrize(
    ('args', 'line'),
    [
        (('show', 'quickstart', '--format', 'csv', '--out', '/'), '--out'),
        (('show', 'quickstart', '--format', 'csv', '--out', '/dev/null/x.csv'), '--out'),
        (('report', 'quickstart', '--work-dir', '/dev/null/x'), '/dev/null'),
        (('report', 'quickstart', '--import', '/nowhere'), 'nothing to import'),
        (('plan', 'quickstart', '--dry-run', '999999999999'), 'in [1, 1000000]'),
        (('plan', 'quickstart', '--trials', '-1'), 'in [1, 1000]'),
        (('run', 'quickstart', '--jobs', '999999999999'), 'jobs must be in [1, 1024]'),
        (('run', 'quickstart', '--retries', '999999999999'), 'retries must be in [0, 1000]'),
        (('run', 'quickstart', '--partition', 'gpu'), '--partition is of Slurm; add --engine slurm'),
        (('run', 'quickstart', '--time-min', '60'), '--time-min is of Slurm; add --engine slurm'),
        (('run', 'quickstart', '--print-sbatch', '--jobs', '2'), '--array-parallelism says how many jobs'),
        (('run', 'quickstart', '--smoke', '--engine', 'slurm'), '--smoke runs on this machine'),
        (('run', 'quickstart', '--smoke', '--trials', '2'), '--trials is not for --smoke'),
        (('show', 'quick\nstart'), 'no table'),
        (('show', 'x' * 5000), 'no table'),
        ((), 'required: verb'),
        (('repotr', 'quickstart'), "did you mean 'report'"),
        (('plan', 'quickstart', '--trils', '3'), "did you mean '--trials'"),
        (('plan', 'quickstart', '--trial', '3'), 'unknown option'),
        (('plan', 'quickstart', '--trials', 'three'), 'invalid int value'),
        (('show', 'quickstart', '--format', 'jsn'), 'invalid choice'),
        (('run',), 'required: table'),
        (('list', 'quickstart'), 'one word too many'),
    ],
)
def test_wrong_arguments_are_one_line(args, line, tmp_path, benchmark_py):
    done = benchmark_py(*args, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert line in done.stderr
    assert len(done.stderr) < 1000
