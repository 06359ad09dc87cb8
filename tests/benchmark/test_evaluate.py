"""Test what is measured of a table's checkpoints: its files, its columns, gains and panels, and the command."""

import csv
import json

import pytest
import torch

from openmix.arguments import CommandParser
from openmix.benchmark.evaluate import check_finished, evaluate_trials
from openmix.benchmark.evaluations import parse_evaluation, to_evaluate, with_evaluations
from openmix.benchmark.figure import missing, write_figure
from openmix.benchmark.report import as_text
from openmix.benchmark.same_choice import same_choice
from openmix.benchmark.statistics import gains, over_first_row
from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError
from openmix.measurements import add_measurements, measurements_of, with_metrics
from openmix.registry import MODELS
from openmix.shipped import configs_dir

FGSM = ('--attack', 'fgsm', '--eps', '4/255')
ERROR = 'fgsm/error (4/255)'
DIGITS = f"""
_base_ = '{configs_dir()}/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4))
val_dataloader = dict(dataset=dict(subset=20))
test_dataloader = dict(dataset=dict(subset=20))
"""


def asked(*words):
    parser = CommandParser('')
    add_measurements(parser)
    return measurements_of(parser.parse_args(list(words)))


def leave_checkpoints(bench, rows=None):
    for trial in bench.trials(rows):
        if trial.folder.is_dir():
            (trial.folder / 'epoch_4.pth').write_bytes(b'')


def measure(cfg, checkpoint, measurements):
    """Make numbers of the seed and the loss; a metric for every measurement."""
    loss = 10.0 if cfg.model.head.loss.type == 'mix_ce' else 0.0
    keys = [key for one in measurements for key in one.columns.values()]
    return {'accuracy/top1': 50.0, **dict.fromkeys(keys, 80.0 + loss + cfg.randomness.seed)}


def evaluate(bench, *words, rows=None, measure=measure):
    said = []
    lost = evaluate_trials(bench.trials(rows), asked(*words), measure, {'commit': 'c0ffee'}, said.append)
    return lost, said


def test_columns_gains_and_what_is_missing(bench, tmp_path):
    bench.run(rows='*Mix*')
    leave_checkpoints(bench, 'Mixup')
    lost, said = evaluate(bench, *FGSM, rows='Mixup')
    assert lost == 0
    assert said[0] == f'Mixup / MCE, trial 0: {ERROR} 90.00'
    records = with_evaluations(bench.records())
    found = {(record.cell.row, record.cell.column): record for record in records}
    one = found['Mixup', f'MCE / {ERROR}']
    assert (one.values, one.status, one.cell.published) == ((90.0, 91.0), 'done', None)
    assert one.cell.lower_is_better
    assert found['CutMix', f'MCE / {ERROR}'].status == 'not evaluated'
    assert found['Vanilla', f'MCE / {ERROR}'].status == 'pending'
    assert found['Mixup', 'MCE'].values == (90.0, 89.0)
    (gain,) = [gain for gain in gains(bench.table, records) if gain.row == 'Mixup' and ERROR in gain.column]
    assert (gain.ours, gain.pairs) == (-10.0, 2)
    for form in ('terminal', 'md', 'csv', 'json', 'latex', 'html', 'hf'):
        assert '90.5' in as_text(bench.table, records, form, tmp_path, full=True), form
    lines = missing(bench.table, records, 'the command')
    assert f'missing: CutMix / MCE / {ERROR}: not evaluated' in lines
    assert to_evaluate(records) == [FGSM]
    write_figure(bench.table, records, tmp_path / 'out', 'the command')
    with (tmp_path / 'out' / 'figure.csv').open() as file:
        bars = [point for point in csv.DictReader(file) if point['panel'] == ERROR]
    assert [(bar['row'], bar['column'], bar['metric'], bar['mean']) for bar in bars[1:3]] == [
        ('Mixup', 'MCE', 'fgsm/error', '90.5'),
        ('Mixup', 'DM(CE)', 'fgsm/error', '80.5'),
    ]


def test_gains_of_a_measure_are_tested_together_and_change_no_others(bench):
    bench.run(trials=3)
    leave_checkpoints(bench)
    before = gains(bench.table, bench.records()), over_first_row(bench.table, bench.records())
    evaluate(bench, *FGSM, '--calibration')
    records = with_evaluations(bench.records())
    for old, make in zip(before, (gains, over_first_row), strict=True):
        new = make(bench.table, records)
        assert len(new) > len(old) > 1
        assert new[: len(old)] == old


def test_only_what_is_missing_is_measured(bench):
    bench.run(rows='Mixup', trials=1)
    leave_checkpoints(bench, 'Mixup')
    calls = []

    def counted(cfg, checkpoint, measurements):
        calls.append([one.name for one in measurements])
        return measure(cfg, checkpoint, measurements)

    evaluate(bench, *FGSM, rows='Mixup', measure=counted)
    _, said = evaluate(bench, *FGSM, rows='Mixup', measure=counted)
    assert said[0] == 'Mixup / MCE, trial 0: evaluated before'
    evaluate(bench, *FGSM, '--calibration', rows='Mixup', measure=counted)
    # Another attack is another column; a later checkpoint, or a file that is damaged, is measured again.
    evaluate(bench, '--attack', 'fgsm', rows='Mixup', measure=counted)
    folder = bench.trials('Mixup', 'MCE')[0].folder
    (folder / 'evaluations' / 'fgsm-error-4-255.json').write_text('{')
    (record,) = bench.records('Mixup', 'MCE')
    assert 'is not JSON' in with_evaluations([record])[0].bad[0]
    evaluate(bench, *FGSM, rows='Mixup', measure=counted)
    (folder / 'epoch_4.pth').rename(folder / 'epoch_5.pth')
    evaluate(bench, *FGSM, rows='Mixup', measure=counted)
    fgsm = ['fgsm-error-4-255']
    assert calls == [fgsm, fgsm, *[['calibration-ece']] * 2, *[['fgsm-error-8-255']] * 2, fgsm, fgsm]
    names = {record.cell.column for record in with_evaluations(bench.records('Mixup', 'DM(CE)'))}
    assert {f'DM(CE) / calibration/{name}' for name in ('ece', 'rms', 'mce', 'brier')} < names


def test_a_policy_that_mixes_nothing_has_no_mixed_accuracy(bench):
    bench.run(rows='*Mix*', trials=1)
    bench.run(rows='Vanilla', trials=1)
    leave_checkpoints(bench)
    words = ('--mixed-accuracy', '--calibration')

    def measured(cfg, checkpoint, measurements):
        found = measure(cfg, checkpoint, measurements)
        return found if cfg.model.policy.type != 'NoMix' else {k: v for k, v in found.items() if 'mixed' not in k}

    lost, said = evaluate(bench, *words, rows='Vanilla', measure=measured)
    assert lost == 0
    assert said[0].endswith('no mixed_accuracy/top1, mixed_accuracy/top2, its policy mixes nothing')
    assert 'calibration/ece' in said[0]
    _, said = evaluate(bench, *words, rows='Vanilla', measure=measured)
    assert said == ['Vanilla / MCE, trial 0: evaluated before']
    evaluate(bench, *words, rows='Mixup', measure=measured)
    beside = with_evaluations([*bench.records('Vanilla', trials=1), *bench.records('Mixup', trials=1)])
    assert 'Vanilla / MCE / mixed_accuracy/top1' not in {record.cell.name for record in beside}
    assert 'Vanilla / MCE / calibration/ece' in {record.cell.name for record in beside}
    assert to_evaluate(beside) == []
    assert not [line for line in missing(bench.table, beside, 'x') if 'mixed_accuracy' in line]
    columns = {record.cell.column for record in with_evaluations(bench.records('Mixup', 'DM(CE)'))}
    assert {'DM(CE) / mixed_accuracy/top1', 'DM(CE) / mixed_accuracy/top2'} <= columns

    def half(cfg, checkpoint, measurements):
        return {k: v for k, v in measured(cfg, checkpoint, measurements).items() if k != 'mixed_accuracy/top2'}

    folder = bench.trials('Mixup', 'MCE')[0].folder
    (folder / 'epoch_4.pth').rename(folder / 'epoch_5.pth')
    with pytest.raises(InputError, match="its test gives no 'mixed_accuracy/top2'"):
        evaluate(bench, *words, rows='Mixup', measure=half)


def test_a_run_without_a_checkpoint_is_told_and_keeps_its_numbers(bench):
    bench.run(rows='Mixup', trials=1)
    leave_checkpoints(bench, 'Mixup')
    evaluate(bench, *FGSM, rows='Mixup')
    folder = bench.trials('Mixup', 'MCE')[0].folder
    (folder / 'epoch_4.pth').unlink()
    lost, said = evaluate(bench, *FGSM, rows='Mixup')
    assert lost == 1
    assert said[0] == f'Mixup / MCE, trial 0: no checkpoint in {folder}'
    assert with_evaluations(bench.records('Mixup', 'MCE'))[1].values == (90.0,)
    (bench.trials('Mixup', 'DM(CE)')[0].folder / 'epoch_4.pth').unlink()
    with pytest.raises(InputError, match='none of the 2 finished trials has a checkpoint'):
        evaluate(bench, *FGSM, rows='Mixup')


def test_nothing_to_measure_is_one_line(bench):
    with pytest.raises(InputError, match='say what to measure'):
        check_finished(bench.trials(), [], 'x')
    with pytest.raises(InputError, match='none of the 10 chosen trials is finished; train them: x'):
        check_finished(bench.trials(), asked(*FGSM), 'x')
    bench.run(rows='Mixup', trials=1)
    leave_checkpoints(bench, 'Mixup')
    with pytest.raises(InputError, match="Mixup / MCE, trial 0: its test gives no 'fgsm/error'"):
        evaluate(bench, *FGSM, rows='Mixup', measure=lambda *_: {})


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        ({'metrics': {}}, "metrics: 'a/error' is missing"),
        ({'columns': {'A': 3}}, 'columns must be text'),
        ({'columns': []}, 'columns must be an object'),
        ({'options': 'x'}, 'options must be a list'),
        ({'config_hash': None}, 'config_hash must be text'),
        ({'metrics': {'a/error': 'x'}}, 'must be a number'),
    ],
)
def test_a_file_that_holds_something_else_is_one_line(change, line):
    good = {
        'config_hash': 'a',
        'checkpoint': 'b',
        'columns': {'A': 'a/error'},
        'options': [],
        'metrics': {'a/error': 1},
    }
    assert parse_evaluation(good, 'x').metrics == {'a/error': 1.0}
    with pytest.raises(InputError, match='x: ') as caught:
        parse_evaluation(good | change, 'x')
    assert line in str(caught.value)
    with pytest.raises(InputError, match="'options' is missing"):
        parse_evaluation({key: value for key, value in good.items() if key != 'options'}, 'x')


def test_the_command_of_another_verb():
    words = [
        't',
        '--rows',
        'all',
        '--corruptions',
        'all',
        '--out',
        'o',
        '--calibration',
        '--severities=3',
        '--trials=2',
    ]
    without = ['--corruptions', 'all', '--severities', '3', '--calibration']
    assert same_choice('run', words, without) == 'python tools/benchmark.py run t --rows all --trials=2'
    assert (
        same_choice('evaluate', ['t'], (), ('--calibration',)) == 'python tools/benchmark.py evaluate t --calibration'
    )


def test_a_metric_that_the_recipe_has_is_not_measured_twice():
    own = [{'type': 'Accuracy'}, {'type': 'Calibration', 'bins': 5}]
    assert with_metrics(own, asked('--calibration')) == own
    assert with_metrics(own[0], asked('--calibration')) == [own[0], {'type': 'Calibration'}]


def test_names_say_what_was_asked():
    (pgd,) = asked('--attack', 'pgd', '--attack-step', '2/255', '--attack-iterations', '20')
    assert pgd.columns == {'pgd/error (8/255, steps of 2/255, 20 steps)': 'pgd/error'}
    assert pgd.of_it({'pgd/error': 1.0, 'accuracy/top1': 2.0}) == {'pgd/error': 1.0}
    (some,) = asked('--corruptions', 'contrast', 'pixelate', '--severities', '1', '3')
    assert (some.name, some.hook) == (
        'corruption-error-contrast-pixelate-severity-1-3',
        {'type': 'CorruptionHook', 'kinds': ['contrast', 'pixelate'], 'severities': [1, 3]},
    )
    assert asked() == []


def test_long_names_differ():
    many = [f'kind{i}' for i in range(20)]
    one, other = (asked('--corruptions', *many, last)[0].name for last in ('fog', 'frost'))
    assert one != other
    assert max(len(one), len(other)) < 120


def test_the_command(bench, benchmark_py):
    """On real digits and weights as initialised, which no training has to make."""
    (bench.root / 'recipe.py').write_text(DIGITS)
    words = (bench.path, '--work-dir', bench.work_dir, '--rows', 'Mixup', '--columns', 'MCE', '--trials', '1')
    done = benchmark_py('evaluate', *words, *FGSM)
    assert (done.returncode, done.stdout) == (2, '')
    assert 'none of the 1 chosen trials is finished; train them: python tools/benchmark.py run' in done.stderr
    assert '--attack' not in done.stderr
    bench.run(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials('Mixup', 'MCE', 1)
    torch.manual_seed(0)
    cfg = launch.prepare(load_config(bench.root / 'recipe.py'))
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, trial.folder / 'epoch_4.pth')
    before = {path.name for path in trial.folder.iterdir()}
    done = benchmark_py('evaluate', *words, *FGSM, '--calibration')
    assert done.returncode == 0, done.stderr
    assert {path.name for path in trial.folder.iterdir()} == before | {'evaluations'}
    found = json.loads((trial.folder / 'evaluations' / 'fgsm-error-4-255.json').read_text())
    assert found['metrics']['fgsm/error'] >= 100 - found['metrics']['accuracy/top1'] > 0
    assert found['config_hash'] == trial.config_hash
    columns = {record.cell.column: record.mean for record in with_evaluations(bench.records('Mixup', 'MCE', 1))}
    assert columns[f'MCE / {ERROR}'] == found['metrics']['fgsm/error']
    assert len(columns) == 6
    # A checkpoint of another network is one line that names the trial.
    torch.save({'state_dict': {'x': torch.zeros(1)}}, trial.folder / 'epoch_5.pth')
    done = benchmark_py('evaluate', *words, *FGSM)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('error: Mixup / MCE, trial 0: ')
