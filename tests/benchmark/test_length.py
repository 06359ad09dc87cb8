"""Test the length, the validations and the progress of trainings by epoch and by iteration."""

import io
import json
import math
from bisect import bisect
from dataclasses import replace

import pytest
from mmengine.config import Config
from rich.console import Console

from openmix.benchmark.bar import Bar
from openmix.benchmark.curves import draw_curves, draw_diagnostics
from openmix.benchmark.length import Length, length_of, median_of, unit_of, values_of
from openmix.benchmark.plan import needs, trial_table
from openmix.benchmark.progress import pace_of, seconds_left, status
from openmix.benchmark.records import side_by_side
from openmix.benchmark.report import as_text
from openmix.benchmark.table import load_table, table_names
from openmix.benchmark.trial import read_out
from openmix.benchmark.trials import check_readouts
from openmix.engine.measures import check_free
from openmix.engine.results import readouts
from openmix.errors import InputError
from openmix.lease import Lease, beside
from openmix.metrics import TAKEN, is_diagnostic
from openmix.result import Result

ITERATIONS = '{_delete_: true, type: IterBasedTrainLoop, max_iters: 400, val_interval: 100}'


@pytest.mark.parametrize(
    ('loop', 'length'),
    [
        ({'max_epochs': 3}, Length(3, 'epoch')),
        ({'type': 'IterBasedTrainLoop', 'max_iters': 70}, Length(70, 'iteration')),
        ({'max_epochs': 0}, None),
        ({'max_epochs': True}, None),
        ({'max_iters': 1 << 40}, None),
        (None, None),
    ],
)
def test_length(loop, length):
    assert length_of(Config({'train_cfg': loop})) == length


def counted(count, begin, interval, changes):
    """Return the validations by a loop over all steps; the last step is always validated."""
    starts, intervals = [1, *(at for at, _ in changes)], [interval, *(every for _, every in changes)]
    due = [at for at in range(1, count + 1) if at % intervals[bisect(starts, at) - 1] == 0 or at == count]
    return sum(at >= begin for at in due)


@pytest.mark.parametrize('key', ['max_epochs', 'max_iters'])
@pytest.mark.parametrize('count', [1, 6, 7, 12])
@pytest.mark.parametrize('begin', [1, 5, 20])
@pytest.mark.parametrize('interval', [1, 3, 50])
@pytest.mark.parametrize('changes', [[], [(4, 1)], [(1, 2), (6, 4)], [(30, 1)]])
def test_validations_are_counted_as_the_loops_make_them(key, count, begin, interval, changes):
    loop = {key: count, 'val_begin': begin, 'val_interval': interval, 'dynamic_intervals': changes}
    assert values_of(Config({'train_cfg': loop}), 'accuracy/top1') == counted(count, begin, interval, changes)
    lines = count if key == 'max_epochs' else counted(count, 1, interval, changes)
    assert values_of(Config({'train_cfg': loop}), 'loss') == lines


def test_what_a_recipe_does_not_tell():
    assert values_of(Config({'train_cfg': {'max_epochs': 5, 'val_interval': 'often'}}), 'accuracy/top1') is None
    assert values_of(Config({}), 'accuracy/top1') is None
    assert values_of(Config({'train_cfg': {'max_epochs': 5}}), 'time/minutes_per_epoch') == 1
    assert values_of(Config({'train_cfg': {'max_iters': 2500}}), 'accuracy/top1') == 3  # mmengine's 1000
    assert unit_of([Length(3, 'epoch'), None, Length(9, 'epoch')]) == 'epoch'
    assert unit_of([Length(3, 'epoch'), Length(9, 'iteration')]) == ''


def test_a_median_is_of_as_many_as_it_says():
    assert [median_of(readout) for readout in ('last', 'best', 'median_last20')] == [0, 0, 20]
    history = tuple({'epoch': at, 'accuracy/top1': float(at)} for at in range(1, 26))
    recorded = {'accuracy/top1': {'last': 25.0, 'median_last10': 20.5}}
    assert read_out(Result(0, '', recorded, history), 'accuracy/top1', 'median_last20') == 15.5
    assert read_out(Result(0, '', recorded, history), 'accuracy/top1', 'median_last25') == 13.0
    with pytest.raises(InputError, match='median_last26 of accuracy/top1 needs 26 validations, and the run has 25'):
        read_out(Result(0, '', recorded, history), 'accuracy/top1', 'median_last26')
    # An older result may record a median of fewer than its name says.
    with pytest.raises(InputError, match='median_last10 of accuracy/top1 needs 10 validations, and the run has 4'):
        read_out(Result(0, '', recorded, history[:4]), 'accuracy/top1', 'median_last10')


def test_a_median_of_more_than_there_will_be_is_refused_before_it_runs(bench, benchmark_py):
    bench.edit('readout: median_last3', 'readout: median_last5')
    line = "cell 'Vanilla / MCE': median_last5 needs 5 values of accuracy/top1, and a training of 4 epochs records 4"
    with pytest.raises(InputError, match=line):
        check_readouts(bench.trials())
    for verb in ('plan', 'run'):
        done = benchmark_py(verb, bench.path, '--work-dir', bench.work_dir)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert 'records 4; train longer, validate more often or choose another readout' in done.stderr
    assert not bench.work_dir.exists()


def test_every_cell_of_the_tables_that_ship_measures_often_enough():
    cells = [cell for name in table_names() for cell in load_table(name).cells if cell.implemented]
    assert len(cells) > 100
    for cell in cells:
        if count := median_of(cell.readout):
            assert (values_of(cell.resolve(), cell.metric) or 0) >= count, cell


def at_row(trial, seconds, **row):
    trial.folder.mkdir(parents=True, exist_ok=True)
    (trial.folder / 'metrics.jsonl').write_text(json.dumps({**row, 'time_s': seconds}) + '\n')


def shown(part):
    said = io.StringIO()
    Console(file=said, width=250).print(part)
    return said.getvalue()


def test_iterations_have_progress_pace_and_time_left(bench):
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text().replace('max_epochs=4', "type='IterBasedTrainLoop', max_iters=400"))
    first, second = bench.trials(rows='Mixup', columns='MCE')
    at_row(first, 20.0, epoch=1, iter=100)
    assert pace_of(first) == 0.2
    assert seconds_left([first, second], ['running', 'pending']) == 300 * 0.2 + 400 * 0.2
    lease = Lease.take(beside(first.folder))
    text = shown(status(bench.table, [first, second]))
    lease.release()
    (line,) = (line for line in text.splitlines() if 'running on' in line)
    assert [part in line for part in ('100/400', '0.2', '1 min 00 s')] == [True] * 3
    assert [head in text for head in ('iteration', 's/iteration')] == [True] * 2
    assert '1 pending, 1 running; about 2 min 20 s left with 1 at a time' in text
    planned = shown(trial_table(bench.table, [first, second]))
    assert ('iterations' in planned, '400' in planned, 'epochs' in planned) == (True, True, False)


def test_epochs_and_iterations_side_by_side(bench):
    bench.edit('    model.policy.alpha: 0.2\n', f'    model.policy.alpha: 0.2\n    train_cfg: {ITERATIONS}\n')
    epochs, _ = bench.trials(rows='Mixup', columns='MCE')
    iterations, _ = bench.trials(rows='Mixup', columns='DM*')
    at_row(epochs, 20.0, epoch=2, iter=50)
    # Nothing is known of the pace of iterations yet.
    assert seconds_left([epochs, iterations], ['running', 'pending']) is None
    at_row(iterations, 50.0, epoch=9, iter=100)
    assert seconds_left([epochs, iterations], ['running', 'running']) == (2 * 10 + 300 * 0.5) / 2
    text = shown(status(bench.table, [epochs, iterations]))
    assert [part in text for part in ('2/4 epochs', '10.0 s/epoch', '100/400 iterations', '0.5 s/iteration')] == [
        True
    ] * 4
    planned = shown(trial_table(bench.table, [epochs, iterations]))
    assert [part in planned for part in ('length', '4 epochs', '400 iterations')] == [True] * 3


def finish(trial, history):
    """Write the result of a trial as its training would."""
    trial.folder.mkdir(parents=True, exist_ok=True)
    values = [row['accuracy/top1'] for row in history]
    readouts = {'accuracy/top1': {'last': values[-1], 'median_last3': sorted(values[-3:])[1]}}
    found = {'readouts': readouts, 'history': history, 'seed': trial.seed, 'duration_s': 80.0}
    (trial.folder / 'result.json').write_text(json.dumps({**found, **trial.provenance.as_dict()}))


def test_time_and_curves_of_finished_iterations(bench):
    bench.edit('    model.policy.alpha: 0.2\n', f'    model.policy.alpha: 0.2\n    train_cfg: {ITERATIONS}\n')
    (mixup,) = bench.trials(rows='Mixup', columns='DM*', trials=1)
    (plain,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    # Several validations within a pass over the data: each is a point of its own.
    finish(mixup, [{'epoch': 1, 'iter': 100 * k, 'accuracy/top1': 60.0 + k} for k in range(1, 5)])
    finish(plain, [{'epoch': k, 'iter': 7 * k, 'accuracy/top1': 60.0 + k} for k in range(1, 5)])
    records = bench.records(rows='Mixup', trials=1)
    assert [record.state for record in records] == ['done', 'done']
    page = draw_curves(bench.table, records)
    assert ('accuracy/top1 over epochs' in page, 'accuracy/top1 over iterations' in page) == (True, True)
    assert page.count('<polyline') == 2
    points = [part.split('"')[0].split() for part in page.split('<polyline points="')[1:]]
    assert [len(line) for line in points] == [4, 4]
    # The second trials: 20 s an epoch of four, 0.2 s an iteration of four hundred.
    need = needs(bench.table, bench.trials(rows='Mixup'), bench.records(rows='Mixup'), None)
    assert (need.runs, need.unknown, need.seconds) == (2, 0, pytest.approx(160.0))


def test_best_last_and_median_stand_side_by_side(bench):
    """For every readout the numbers of each run, with their mean; nothing where runs have fewer validations."""
    trials = bench.trials(rows='Mixup', columns='DM*')
    for trial, above in zip(trials, (0.0, 1.0), strict=True):
        values = [50.0, 90.0, *(60.0 + k for k in range(20))]
        history = [{'epoch': k, 'iter': 7 * k, 'accuracy/top1': value + above} for k, value in enumerate(values, 1)]
        finish(trial, history)
        path = trial.folder / 'result.json'
        found = json.loads(path.read_text())
        found['readouts']['accuracy/top1'] |= readouts('accuracy/top1', [row['accuracy/top1'] for row in history])
        path.write_text(json.dumps(found))
    (few,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    finish(few, [{'epoch': k, 'iter': 7 * k, 'accuracy/top1': 60.0 + k} for k in range(1, 5)])
    records = bench.records(rows='Mixup')
    text = as_text(bench.table, records, 'md', bench.work_dir)
    assert '| Readouts | best | last | median of the last 20 |' in text
    assert '| Mixup / DM(CE) | 90.50 ± 0.71 (2) | 79.50 ± 0.71 (2) | 70.00 ± 0.71 (2) |' in text
    assert text.count('| Mixup / MCE |') == 1  # among the runs alone
    page = as_text(bench.table, records, 'html', bench.work_dir)
    assert 'Readouts</h2>' in page
    assert page.count('70.00 ± 0.71 (2)') == 1
    of_cells = json.loads(as_text(bench.table, records, 'json', bench.work_dir, full=True))['cells']
    means = [{name: found['mean'] for name, found in cell['readouts'].items()} for cell in of_cells]
    assert means == [{}, {'best': 90.5, 'last': 79.5, 'median_last20': 70.0}]


@pytest.mark.parametrize(
    ('values', 'recorded', 'there'),
    [
        ([50.0] * 20, {'best': 50.0, 'last': 50.0}, True),
        ([50.0] * 19, {'best': 50.0, 'last': 50.0}, False),
        ([50.0] * 20, {'last': 50.0}, False),
        ([50.0] * 19 + [math.nan], {'best': 50.0, 'last': math.nan}, False),
    ],
)
def test_readouts_of_runs_that_have_each_of_them(bench, values, recorded, there):
    (record,) = bench.records(rows='Mixup', columns='MCE')
    history = tuple({'epoch': k, 'accuracy/top1': value} for k, value in enumerate(values, 1))
    result = Result(seed=0, config_hash='', readouts={'accuracy/top1': recorded}, history=history)
    found = side_by_side(replace(record, results=(result, result)))
    assert found == (dict.fromkeys(('best', 'last', 'median_last20'), (50.0, 50.0)) if there else {})


def test_what_counts_as_a_diagnostic():
    """One rule for the training and the report: every name that a line has otherwise is none."""
    names = ['mask_rate', 'accuracy/top1', 'loss', 'loss_u', 'momentum', 'gpu_mib', 'lr', 'time_s', 'base_lr']
    assert [name for name in names if is_diagnostic(name)] == ['mask_rate']
    for name in TAKEN:
        with pytest.raises(InputError, match=f"gives '{name}'"):
            check_free([name])


def test_diagnostics_are_drawn_as_they_were_recorded(bench):
    """A panel for each diagnostic and column; a mean over trials, without points that were not measured."""
    bench.edit('    model.policy.alpha: 0.2\n', f'    model.policy.alpha: 0.2\n    train_cfg: {ITERATIONS}\n')
    trials = bench.trials(rows='Mixup', columns='DM*')
    for trial, rate in zip(trials, (0.2, 0.4), strict=True):
        rows = [{'epoch': 1, 'iter': 100 * k, 'accuracy/top1': 60.0, 'lr': 0.1, 'loss': 2.0} for k in range(1, 5)]
        history = [{**row, 'my_loss': 1.0, 'mask_rate': rate * k} for k, row in enumerate(rows)]
        finish(trial, [{**row, 'pseudo_label_accuracy': 0.9} if k else row for k, row in enumerate(history)])
    (plain,) = bench.trials(rows='Vanilla', columns='MCE', trials=1)
    finish(plain, [{'epoch': k, 'iter': 7 * k, 'accuracy/top1': 60.0 + k} for k in range(1, 5)])
    records = bench.records()
    page = draw_diagnostics(bench.table, records)
    assert [f'DM(CE): {name}<' in page for name in ('mask_rate', 'pseudo_label_accuracy', 'lr', 'my_loss')] == [
        True,
        True,
        False,
        False,
    ]
    assert (page.count('<figure'), page.count('<polyline')) == (2, 2)
    assert 'mask_rate over iterations. Mixup ends at 0.90' in page
    points = [part.split('"')[0].split() for part in page.split('<polyline points="')[1:]]
    assert [len(line) for line in points] == [4, 3]
    # Its colour is that of its learning curve.
    curves = draw_curves(bench.table, records)
    assert 'class="curve s1"' in page
    assert 'class="curve s0"' not in page
    assert curves.split('data-row="Mixup"')[1].split('class="curve ')[1][:2] == 's1'
    assert draw_diagnostics(bench.table, bench.records(rows='Vanilla')) == ''


def test_time_left_is_by_the_pace_of_this_call(bench, monkeypatch):
    """What a resumed training had trained before took no time of this call."""
    now = [100.0]
    monkeypatch.setattr('openmix.benchmark.bar.time.monotonic', lambda: now[0])
    resumed, fresh = bench.trials(rows='Mixup', columns='MCE')
    at_row(resumed, 900.0, epoch=2, iter=50)
    (resumed.folder / 'epoch_2.pth').touch()
    bar = Bar(Console(), [resumed, fresh])
    assert bar.left([resumed]) == ''
    at_row(resumed, 910.0, epoch=3, iter=75)
    now[0] += 10.0
    # An epoch in 10 s; of eight are five left.
    assert bar.left([resumed]) == ', about 50 s left'
    now[0] += 10.0
    at_row(resumed, 920.0, epoch=4, iter=100)
    bar.count(resumed)
    assert bar.left() == ', about 40 s left'
    bar.count(fresh)
    assert bar.left() == ''


def test_a_trial_that_fails_at_once_does_not_shorten_the_time_left(bench, monkeypatch):
    now = [0.0]
    monkeypatch.setattr('openmix.benchmark.bar.time.monotonic', lambda: now[0])
    failing, first, second = [*bench.trials(rows='Mixup', columns='MCE'), *bench.trials(rows='CutMix', trials=1)][:3]
    bar = Bar(Console(), [failing, first, second])
    at_row(first, 20.0, epoch=2, iter=50)
    now[0] = 20.0
    assert bar.left([first]) == ', about 1 min 40 s left'  # ten epochs of 10 s
    bar.count(failing)
    assert bar.left([first]) == ', about 1 min 00 s left'  # without the four of it, at the same pace
    assert bar.left([]) == ''


def test_of_both_kinds_each_training_counts_alike(bench, monkeypatch):
    bench.edit('    model.policy.alpha: 0.2\n', f'    model.policy.alpha: 0.2\n    train_cfg: {ITERATIONS}\n')
    now = [0.0]
    monkeypatch.setattr('openmix.benchmark.bar.time.monotonic', lambda: now[0])
    trials = bench.trials(rows='Mixup', trials=1)
    bar = Bar(Console(), trials)
    at_row(trials[1], 30.0, epoch=3, iter=200)
    now[0] = 30.0
    assert bar.left(trials) == ', about 1 min 30 s left'  # half of one of two
