"""`--steps` shortens all trainings of a table by iteration to the same length, and the report says so."""

import json

import pytest
from mmengine.config import Config

from openmix.benchmark.length import values_of
from openmix.benchmark.shorten import shortened
from openmix.benchmark.table import default_work_dir, load_table
from openmix.benchmark.trials import trials_of
from openmix.errors import InputError
from openmix.overrides import apply_overrides

LOOP = {'type': 'IterBasedTrainLoop', 'max_iters': 1000, 'val_interval': 50}


def short(steps, **recipe):
    cfg = Config({'train_cfg': LOOP, **recipe})
    return apply_overrides(cfg, shortened(cfg, steps))


def test_what_counts_iterations_shrinks_alike():
    loop = {**LOOP, 'val_begin': 500, 'dynamic_intervals': [(600, 20), (604, 10), (900, 5)]}
    schedules = [
        {'type': 'LinearLR', 'by_epoch': False, 'begin': 0, 'end': 100, 'start_factor': 0.1},
        {'type': 'MultiStepLR', 'by_epoch': False, 'begin': 100, 'milestones': [500, 800], 'gamma': 0.1},
        {'type': 'CosineAnnealingLR', 'convert_to_iter_based': True},  # ends with the run
    ]
    hooks = [{'type': 'EMAHook', 'begin_iter': 300, 'momentum': 0.01}, {'type': 'StepSeedHook'}]
    found = short(100, train_cfg=loop, param_scheduler=schedules, custom_hooks=hooks)
    assert found.train_cfg == {
        **LOOP,
        'max_iters': 100,
        'val_interval': 5,
        'val_begin': 50,
        'dynamic_intervals': [[60, 1], [90, 1]],
    }
    assert found.param_scheduler[0] == {**schedules[0], 'end': 10}
    assert found.param_scheduler[1] == {**schedules[1], 'begin': 10, 'milestones': [50, 80]}
    assert found.param_scheduler[2] == schedules[2]
    assert found.custom_hooks == [{**hooks[0], 'begin_iter': 30}, hooks[1]]


@pytest.mark.parametrize('steps', [1000, 999, 333, 70, 20])
def test_a_shorter_training_validates_as_often(steps):
    found = short(steps)
    assert found.train_cfg.max_iters == steps
    assert values_of(found, 'accuracy/top1') >= values_of(Config({'train_cfg': LOOP}), 'accuracy/top1') == 20


@pytest.mark.parametrize(
    ('recipe', 'line'),
    [
        ({'train_cfg': {'max_epochs': 5}}, 'this one counts epochs'),
        ({'train_cfg': {}}, 'this one states no length'),
        ({'train_cfg': {**LOOP, 'max_iters': 50}}, 'the training has 50 iterations'),
        ({'param_scheduler': {'type': 'LinearLR', 'end': 5}}, r'param_scheduler.end counts epochs'),
        ({'param_scheduler': [{'type': 'StepLR', 'step_size': 5}]}, r'param_scheduler.0.step_size counts epochs'),
    ],
)
def test_what_cannot_be_shortened_is_refused(recipe, line):
    with pytest.raises(InputError, match=line):
        short(100, **recipe)


def test_what_is_no_count_is_left_to_the_training():
    loop = {**LOOP, 'val_interval': 'often', 'dynamic_intervals': 7, 'val_begin': 0}
    assert short(100, train_cfg=loop).train_cfg == {**loop, 'max_iters': 100, 'dynamic_intervals': 1}


def test_a_table_by_epoch_is_refused(bench, benchmark_py):
    for verb in ('plan', 'run'):
        done = benchmark_py(verb, bench.path, '--steps', 3, '--work-dir', bench.work_dir)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "cell 'Vanilla / MCE': --steps shortens trainings by iteration, and this one counts" in done.stderr
    assert not bench.work_dir.exists()


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['plan', '--steps', '0'], '--steps must be >= 1'),
        (['plan', '--steps', '5', '--cfg-options', 'train_cfg.max_iters=9'], 'train_cfg.max_iters both say how long'),
        (['plan', '--steps', '5', '--cfg-options', 'train_cfg.max_epochs=9'], 'train_cfg.max_epochs both say how long'),
        (['run', '--steps', '5', '--smoke'], '--steps is not for --smoke'),
    ],
)
def test_what_does_not_go_together(bench, benchmark_py, words, line):
    done = benchmark_py(words[0], bench.path, *words[1:])
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert line in done.stderr


def test_only_the_chosen_cells_are_shortened(bench):
    bench.edit('    model.policy.alpha: 0.2\n', f'    model.policy.alpha: 0.2\n    train_cfg: {json.dumps(LOOP)}\n')
    bench.edit('train_cfg: {', 'train_cfg: {"_delete_": true, ')
    table = bench.table
    short = table.with_steps(100, table.select(columns='DM*'))
    assert [cell.steps for cell in short.cells] == [100 if cell.column == 'DM(CE)' else None for cell in table.cells]
    assert short.cell('Mixup', 'DM(CE)').resolve().train_cfg.max_iters == 100
    assert default_work_dir(short).name == 'small@steps-100'
    assert default_work_dir(table).name == 'small'


@pytest.mark.slow
def test_a_shorter_table_is_trained_beside_the_whole_one(iterations, benchmark_py):
    call = ['run', 'mine.yaml', '--steps', '40', '--rows', 'Mixup', '--jobs', '1']
    done = benchmark_py(*call, cwd=iterations)
    assert done.returncode == 0, done.stdout + done.stderr
    work = iterations / 'work_dirs/tables/mine@steps-40'
    trial = work / 'mixup/mce/trial0'
    result = json.loads((trial / 'result.json').read_text())
    assert (result['iterations'], len(result['history'])) == (40, 20)
    assert json.loads((trial / 'cell.json').read_text())['options'] == {'--steps': 40}
    done = benchmark_py('report', 'mine.yaml', '--steps', '40', cwd=iterations)
    assert done.returncode == 0, done.stderr
    assert 'with --steps 40' in done.stdout
    assert 'shortened to 40 iterations: these runs do not repeat the printed ones' in done.stdout
    assert '1 done' in benchmark_py('status', 'mine.yaml', '--steps', '40', cwd=iterations).stdout
    # The whole table has a folder of its own, and does not set these runs aside.
    assert '2 trials, 2 to run' in benchmark_py('plan', 'mine.yaml', cwd=iterations).stdout
    for words in (['--work-dir', work], ['--work-dir', work, '--steps', '30']):
        done = benchmark_py('run', 'mine.yaml', *words, cwd=iterations)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert 'was trained with --steps 40; give another --work-dir' in done.stderr
    config = benchmark_py('config', 'mine.yaml', 'Mixup', 'MCE', '--steps', '40', cwd=iterations)
    assert ('max_iters=40' in config.stdout, 'val_interval=2' in config.stdout) == (True, True)


def test_a_plan_in_a_folder_of_another_length_is_refused(iterations, benchmark_py):
    table = load_table(iterations / 'mine.yaml')
    table = table.with_steps(40, table.cells)
    (trial,) = trials_of(table, table.select('Mixup', 'MCE'), iterations, 1)
    trial.folder.mkdir(parents=True)
    (trial.folder / 'cell.json').write_text(json.dumps(trial.identity))
    call = ['plan', 'mine.yaml', '--rows', 'Mixup', '--columns', 'MCE', '--work-dir', iterations]
    for words in ([], ['--steps', 30]):
        done = benchmark_py(*call, *words, cwd=iterations)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert 'was trained with --steps 40; give another --work-dir' in done.stderr
    done = benchmark_py(*call, '--steps', 40, cwd=iterations)
    assert done.returncode == 0, done.stderr
