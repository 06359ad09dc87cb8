"""Test the figure of a table: its data, its panels, what is missing, and the command."""

import csv
import shlex

import pytest
import yaml

from openmix.benchmark.figure import missing, side_by_side, write_figure
from openmix.benchmark.figure_panels import KINDS, Panel, read_panels
from openmix.benchmark.table import load_table, table_names
from openmix.errors import InputError

PANELS = """
figure:
  - {title: A title, kind: bars}
  - {kind: lines, x: a loss}
  - {kind: lines, over: rows, rows: [Mixup, CutMix]}
  - {kind: heat map, rows: '*Mi*'}
  - {kind: curves, columns: MCE}
  - {kind: scatter, columns: ['DM(CE)', MCE]}
"""


RUN = 'the command'


def points(folder):
    with (folder / 'figure.csv').open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def drawn(bench):
    bench.path.write_text(bench.path.read_text() + PANELS)
    bench.run(rows='*Mix*')
    bench.run(rows='Vanilla', trials=1)
    return bench


def test_every_kind_of_panel_is_drawn_with_its_data(drawn, tmp_path):
    out = tmp_path / 'out'
    png, svg, data = write_figure(drawn.table, drawn.records(trials=2), out, RUN)
    assert png.read_bytes()[:4] == b'\x89PNG'
    assert '<svg' in svg.read_text()
    assert data == out / 'figure.csv'
    found = points(out)
    assert {point['panel'] for point in found} == {'A title', '1', '2', '3', '4', '5'}
    bars = {(point['row'], point['column']): point for point in found if point['panel'] == 'A title'}
    one = bars['Mixup', 'DM(CE)']
    assert one.keys() == {*('panel', 'row', 'column', 'metric', 'at'), *('mean', 'std', 'trials', 'published', 'state')}
    assert (one['mean'], one['trials'], one['published'], one['state']) == ('89.5', '2', '80.44', 'done')
    assert float(one['std']) == pytest.approx(0.5**0.5)
    curve = [(point['at'], point['mean']) for point in found if point['panel'] == '4' and point['row'] == 'CutMix']
    assert curve == [('1', '69.5'), ('2', '79.5'), ('3', '89.5'), ('4', '99.5')]


def test_panels_that_are_too_wide_together_are_drawn_in_lines():
    assert side_by_side([4.2] * 5) == [[0, 1, 2], [3, 4]]
    assert side_by_side([20.0, 4.2, 4.2]) == [[0], [1, 2]]
    assert side_by_side([4.2]) == [[0]]


def test_what_is_missing_is_listed_with_its_command(bench):
    bench.run(rows='Mixup')
    assert missing(bench.table, bench.records(), RUN) == [
        'missing: Vanilla / MCE: pending',
        'missing: CutMix / MCE: pending',
        'missing: CutMix / DM(CE): pending',
        f'to train what is missing: {RUN}',
    ]


def test_without_a_result_there_is_no_figure(bench, tmp_path):
    with pytest.raises(InputError, match='none of the 5 points has a result; train them: the command'):
        write_figure(bench.table, bench.records(), tmp_path / 'out', RUN)
    assert not (tmp_path / 'out').exists()


def test_an_unchanged_figure_is_the_same_file(drawn, tmp_path):
    first, second = (write_figure(drawn.table, drawn.records(), tmp_path / name, RUN) for name in 'ab')
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_survives_cells_that_are_missing(kind, bench, tmp_path):
    bench.edit('notes:', f'figure: [{{kind: {kind}}}]\nnotes:')
    bench.run(rows='Mixup', columns='MCE')
    write_figure(bench.table, bench.records(), tmp_path, RUN)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_survives_beside_another_that_has_results(kind, bench, tmp_path, recwarn):
    bench.edit('notes:', f'figure: [{{kind: {kind}, rows: CutMix}}, {{kind: bars, rows: Mixup}}]\nnotes:')
    bench.edit('  CutMix: [78.17, null]\n', '')
    bench.run(rows='Mixup')
    write_figure(bench.table, bench.records(), tmp_path, RUN)
    assert [point['mean'] for point in points(tmp_path)] == ['', '', '89.5', '89.5']
    assert not [str(warning.message) for warning in recwarn]


def test_a_scatter_plot_of_one_column_is_refused(bench, tmp_path):
    bench.edit('notes:', 'figure: [{kind: scatter}]\nnotes:')
    bench.run(rows='Mixup', columns='MCE')
    with pytest.raises(InputError, match='needs both of its columns'):
        write_figure(bench.table, bench.records(columns='MCE'), tmp_path / 'out', RUN)
    assert not (tmp_path / 'out').exists()


def test_the_command(bench, benchmark_py, tmp_path):
    bench.run()
    done = benchmark_py('figure', bench.path, '--work-dir', bench.work_dir, '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / 'out' / f'figure.{kind}') for kind in ('png', 'svg', 'csv')]
    done = benchmark_py('figure', bench.path, '--work-dir', tmp_path / 'empty', '--out', tmp_path / 'empty')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith("error: table 'small': none of the 5 points")
    # The command that it names trains what is asked for, where it is asked for.
    again = shlex.split(done.stderr.strip().rpartition('train them: ')[2])
    assert again == ['python', 'tools/benchmark.py', 'run', str(bench.path), '--work-dir', str(tmp_path / 'empty')]
    assert not (tmp_path / 'empty').exists()
    (tmp_path / 'file').write_text('kept')
    done = benchmark_py('figure', bench.path, '--work-dir', bench.work_dir, '--out', tmp_path / 'file')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith('error: --out: cannot write')
    assert (tmp_path / 'file').read_text() == 'kept'


@pytest.mark.parametrize(
    ('panel', 'line'),
    [
        ('{}', 'figure 0: kind is missing'),
        ('{kind: line}', "did you mean 'lines'"),
        ('{kind: bars, row: A}', "did you mean 'rows'"),
        ('{kind: bars, over: rows}', 'over is of lines alone'),
        ('{kind: lines, over: row}', "did you mean 'rows'"),
        ('{kind: scatter}', 'a scatter plot needs two columns, its globs match 3'),
        ('{kind: bars, rows: Z}', 'match no cell'),
        ('{kind: bars, rows: [1]}', 'rows must be a glob or a list of globs'),
        ('{kind: bars, title: 3}', 'title must be text'),
        ('bars', 'expected a mapping'),
    ],
)
def test_a_panel_that_cannot_be_meant_is_one_line(panel, line):
    with pytest.raises(InputError) as caught:
        read_panels("table 't', figure", yaml.safe_load(f'[{panel}]'), ['A', 'B'], ['x', 'y', 'z'])
    assert line in str(caught.value)
    assert '\n' not in str(caught.value)


def test_every_published_figure_says_how_it_is_drawn():
    figures = [name for name in table_names() if 'figure' in name]
    assert len(figures) >= 6
    for name in figures:
        assert load_table(name).figure != (Panel(),) or name.endswith('figure2b')
