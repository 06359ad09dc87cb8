"""tools/benchmark.py as people call it."""

import json
import subprocess
import sys

import pytest

from openmix.config import tools_path


def call(*args):
    command = [sys.executable, str(tools_path('benchmark.py')), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_show_as_json(bench):
    done = call('show', bench.path, '--format', 'json', '--work-dir', bench.work_dir, '--rows', 'mix*')
    assert done.returncode == 0, done.stderr
    assert [(entry['column'], entry['published']) for entry in json.loads(done.stdout)] == [
        ('MCE', 79.12),
        ('DM(CE)', 80.44),
    ]


def test_list_names_the_tables():
    done = call('list')
    assert done.returncode == 0, done.stderr
    assert 'quickstart' in done.stdout


def test_config_writes_a_recipe(bench, tmp_path):
    out = tmp_path / 'new' / 'cell.py'
    assert call('config', bench.path, 'CutMix', 'MCE', '--out', out).returncode == 0
    assert "policy=dict(alpha=0.1, type='CutMix')" in out.read_text()


@pytest.mark.parametrize('args', [('show', 'quickstrat'), ('config', 'quickstart', 'Mixup', 'MCEE')])
def test_errors_are_one_line(args):
    done = call(*args)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert len(done.stderr.splitlines()) == 1
    assert 'did you mean' in done.stderr
