"""Test the plan of a table: its trials and their estimated cost."""

import io

import pytest
from rich.console import Console

from openmix.benchmark.plan import measure_hours, missing_data, needs, summary, trial_table

LOADERS = """
train_dataloader = dict(dataset=dict(type='CIFAR10', root={root!r}, download=True))
val_dataloader = dict(dataset=dict(type='CIFAR10', root={root!r}, split='test'))
"""
DRY = """
import json, pathlib, sys
if 'Row: CutMix' in open(sys.argv[1]).read():
    sys.exit('error: no such thing')
assert sys.argv[2] == '--dry-run' and sys.argv[4] == '--out'
pathlib.Path(sys.argv[5]).write_text(json.dumps({'hours': int(sys.argv[3]) + 0.5, 'seconds_per_iteration': 0.1}))
print('dry run: 0.100 s an iteration, about 99 h for the whole schedule')
"""


def planned(bench, size=1_000_000, hours=None, **chosen):
    trials, records = bench.trials(**chosen), bench.records(**chosen)
    need = needs(bench.table, trials, records, lambda cfg: size, hours, chosen.get('trials'))
    return need, summary(trials, records, need)


def test_time_from_earlier_runs(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    need, lines = planned(bench, trials=1)
    assert (need.runs, need.seconds, need.unknown) == (4, 50.0, 0)  # 12.5 s each
    assert lines[0] == '5 trials, 4 to run'
    assert 'time: about 50 s one after another on one device' in lines
    said = io.StringIO()
    Console(file=said, width=200).print(trial_table(bench.table, bench.trials(trials=1)))
    assert [word in said.getvalue() for word in ('skip', 'run', 'recipe.py')] == [True] * 3


def test_time_of_other_lengths(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    bench.edit('  DM(CE):\n', '  DM(CE):\n    train_cfg.max_epochs: 8\n')
    need, _ = planned(bench, trials=1, rows='Mixup')
    assert need.seconds == 25.0


def test_unknown_time_and_size(bench):
    need, lines = planned(bench, size=None, trials=1)
    assert (need.unknown, need.unsized) == (5, 5)
    assert any(line.endswith('unknown until one like it is finished; --dry-run 20 measures') for line in lines)
    assert 'disk of 5 trials: unknown, the model cannot be built here' in lines


def test_measured_time(bench):
    script = bench.root / 'dry.py'
    script.write_text(DRY)
    found = dict(measure_hours(bench.table.cells, 2, script))
    recipe = str(bench.root / 'recipe.py')
    assert found == {
        (recipe, 'NoMix', '4 epochs'): 2.5,
        (recipe, 'Mixup', '4 epochs'): 2.5,
        (recipe, 'CutMix', '4 epochs'): 'error: no such thing',
    }
    hours = {key: value for key, value in found.items() if isinstance(value, float)}
    need, _ = planned(bench, hours=hours, trials=1)
    assert (need.seconds, need.unknown) == (3 * 2.5 * 3600, 2)


@pytest.mark.parametrize(('optimizer', 'copies'), [('SGD', 2), ('AdamW', 3)])
def test_disk(bench, optimizer, copies):
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + f"optim_wrapper = dict(optimizer=dict(type='{optimizer}'))\n")
    need, lines = planned(bench, trials=1)
    assert need.disk == 5 * 4e6 * copies
    assert f'disk: about {5 * 4 * copies:.1f} MB for checkpoints' in lines


def test_missing_data_says_how_to_get_it(bench):
    recipe, root = bench.root / 'recipe.py', bench.root / 'images'
    recipe.write_text(recipe.read_text() + LOADERS.format(root=str(root)))
    cfg = bench.table.cells[0].resolve()
    (line,) = missing_data([cfg, cfg])
    assert line == f'CIFAR10 in {root}: python tools/prepare_dataset.py CIFAR10 --root {root}'
    root.mkdir()
    (root / 'something').touch()
    assert missing_data([cfg]) == []


def test_cells_left_out_and_searches_are_counted(bench):
    bench.edit('  CutMix: {model', '  CutMix: {implemented: false, model')
    bench.edit('gains: {DM(CE): MCE}', 'grid: {model.policy.alpha: [0.2, 0.5, 1.0]}')
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + LOADERS.format(root=str(bench.root)))
    need, lines = planned(bench, rows='*mix*')
    assert need.runs == 2 * 3 + 2 * 2  # two cells: three points, then two trials each
    assert planned(bench, rows='*mix*', trials=5)[0].runs == 2 * 3 + 2 * 5
    assert '2 cells are not implemented and left out' in lines
    assert any('when their search is finished' in line for line in lines)
