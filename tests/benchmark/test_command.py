"""Test tools/benchmark.py as a command."""

import json

import pytest

from openmix.benchmark.as_data import FIELDS
from openmix.benchmark.escape import markdown
from openmix.benchmark.table import table_names


def test_show_as_json(bench, benchmark_py):
    done = benchmark_py('show', bench.path, '--format', 'json', '--work-dir', bench.work_dir, '--rows', 'mix*')
    assert done.returncode == 0, done.stderr
    assert [(entry['column'], entry['published']) for entry in json.loads(done.stdout)] == [
        ('MCE', 79.12),
        ('DM(CE)', 80.44),
    ]


def test_list_names_the_tables(benchmark_py):
    done = benchmark_py('list')
    assert done.returncode == 0, done.stderr
    assert 'quickstart' in done.stdout


@pytest.mark.slow
def test_config_writes_a_recipe(bench, tmp_path, benchmark_py):
    out = tmp_path / 'new' / 'cell.py'
    assert benchmark_py('config', bench.path, 'CutMix', 'MCE', '--out', out).returncode == 0
    assert "policy=dict(alpha=0.1, share='batch', type='CutMix')" in out.read_text()


@pytest.mark.parametrize('args', [('show', 'quickstrat'), ('config', 'quickstart', 'Mixup', 'MCEE')])
def test_errors_are_one_line(args, benchmark_py):
    done = benchmark_py(*args)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert len(done.stderr.splitlines()) == 1
    assert 'did you mean' in done.stderr


def test_list_counts_the_cells(benchmark_py):
    lines = [line.split('│') for line in benchmark_py('list').stdout.splitlines()]
    counts = {line[0].strip(): [cell.strip() for cell in line[1:6]] for line in lines if len(line) > 5}
    assert counts['quickstart'] == ['7', '7', '0', counts['quickstart'][3], '3']
    assert counts['decoupled_mixup/table1'][::2] == ['90', '90', '3']


def test_show_without_a_table_shows_all(benchmark_py):
    done = benchmark_py('show', '--format', 'json')
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {entry['table'] for entry in found} == set(table_names())
    assert list(found[0]) == ['table', *FIELDS]


def test_show_of_all_takes_no_selection(benchmark_py):
    done = benchmark_py('show', '--rows', 'Mixup')
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert '--rows needs a table' in done.stderr


def test_variant_replaces_the_tables(bench, tmp_path, benchmark_py):
    out = tmp_path / 'cell.py'
    assert benchmark_py('config', bench.path, 'CutMix', 'MCE', '--variant', 'corrected', '--out', out).returncode == 0
    assert "policy=dict(alpha=0.1, type='CutMix')" in out.read_text()
    done = benchmark_py('show', bench.path, '--variant', 'corrected', '--work-dir', bench.work_dir)
    assert 'corrected variant' in done.stdout


@pytest.mark.parametrize('verb', ['run', 'plan', 'status'])
def test_only_cells_without_code_are_one_line(bench, verb, benchmark_py):
    bench.edit('  CutMix: {model', '  CutMix: {implemented: false, model')
    done = benchmark_py(verb, bench.path, '--rows', 'CutMix', '--work-dir', bench.work_dir)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert 'none of the 2 chosen cells is implemented yet' in done.stderr


@pytest.mark.slow
def test_plan_says_what_is_left(bench, benchmark_py):
    done = benchmark_py('plan', bench.path, '--work-dir', bench.work_dir, '--trials', '1')
    assert done.returncode == 0, done.stderr
    assert '5 trials, 5 to run' in done.stdout
    assert 'disk: not counted; --disk builds the models and counts their checkpoints' in done.stdout
    done = benchmark_py('plan', bench.path, '--work-dir', bench.work_dir, '--trials', '1', '--disk')
    assert 'disk of 5 trials: unknown' in done.stdout  # the recipe has no backbone


@pytest.mark.slow
def test_report_imports(bench, tmp_path, benchmark_py):
    theirs = tmp_path / 'theirs'
    bench.run(rows='Mixup', columns='MCE')
    bench.work_dir.rename(theirs)
    options = ('--rows', 'Mixup', '--work-dir', bench.work_dir, '--import', theirs, '--format', 'csv')
    done = benchmark_py('report', bench.path, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == ','.join(FIELDS)
    assert f'89.50 ± 0.71 (2) from {markdown(str(theirs))}' in (bench.work_dir / 'report.md').read_text()
