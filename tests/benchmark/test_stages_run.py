"""Train cells of two stages by commands in processes: killed in each stage, shared between tables, smoke-tested."""

import json
import os
import signal

import pytest
from processes import all_end
from waiting import SECONDS, until

from openmix.lease import holder_at, inside

pytestmark = pytest.mark.slow
FIRST = """
_base_ = ['configs/classification/digits/resnet20.py']
model = dict(backbone=dict(depth=8, width=8))
train_cfg = dict(max_epochs={epochs})
train_dataloader = dict(dataset=dict(subset=256))
vis_backends = []
visualizer = dict(vis_backends=vis_backends)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
"""
LINEAR = """
_base_ = ['first.py']
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.0, decay_mult=0.0))))
"""
TABLE = """
title: Two stages
source: none
metric: accuracy/top1
readout: last
trials: 1
columns: {Linear: {config: linear.py, from: {config: first.py}}}
rows:
  Vanilla: {}
  Mixup: {from.model.policy: {type: Mixup, alpha: 1.0, _delete_: true}}
"""


def write(folder, epochs=1, name='two', table=TABLE):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'first.py').write_text(FIRST.format(epochs=epochs))
    (folder / 'linear.py').write_text(LINEAR)
    (folder / f'{name}.yaml').write_text(table)
    return folder


def results(folder):
    """Return the results below a folder by stage; there must be one per stage."""
    found = {}
    for stage, pattern in (('first', 'work_dirs/weights/first/*/result.json'), ('last', '*/tables/two/**/result.json')):
        (path,) = folder.glob(pattern)
        found[stage] = json.loads(path.read_text())
    return found


def numbers(result):
    """Return the numbers of a run without its clock readings."""
    history = [{key: value for key, value in row.items() if key != 'time_s'} for row in result['history']]
    return history, result['config_hash'], result['seed']


@pytest.fixture(scope='module')
def whole(tmp_path_factory, benchmark_py):
    """Plan, run and report a table of two rows without interruption."""
    folder = write(tmp_path_factory.mktemp('whole'))
    said = {'plan before': benchmark_py('plan', 'two.yaml', cwd=folder)}
    for verb in ('run', 'plan', 'status', 'report'):
        said[verb] = benchmark_py(verb, 'two.yaml', cwd=folder)
        assert said[verb].returncode == 0, said[verb].stdout + said[verb].stderr
    return folder, {verb: done.stdout for verb, done in said.items()}


def test_planned_run_finished_and_reported(whole):
    folder, said = whole
    assert '4 trials, 4 to run' in said['plan before']
    assert said['plan before'].count('stage 1') == 2
    assert '[4/4]' in said['run']
    assert '4 trials, 0 to run' in said['plan']
    assert '4 done' in said['status']
    assert 'Earlier stages' in said['report']
    for path in folder.glob('work_dirs/tables/two/*/*/trial0/result.json'):
        result, log = json.loads(path.read_text()), (path.parent / 'log.txt').read_text()
        (first,) = folder.glob(f'work_dirs/weights/first/{result["weights"]["run"]}-seed0')
        assert f'tensors of the backbone from {first.resolve()}/epoch_1.pth' in log
        assert f'({result["weights"]["file"]}); left in it: head' in log
        assert result['weights']['run'] in said['report']
        assert result['weights']['run'] in (folder / 'work_dirs/tables/two/report.html').read_text()


def test_another_table_that_starts_from_the_same_trains_only_its_own(whole, benchmark_py):
    folder, _ = whole
    other = TABLE.replace('config: linear.py', 'config: linear.py, train_dataloader.batch_size: 32')
    write(folder, name='other', table=other)
    done = benchmark_py('run', 'other.yaml', cwd=folder)
    assert done.returncode == 0, done.stderr
    assert '2 trials done before, 2 to run' in done.stdout


def test_the_recipe_by_hand_needs_the_weights(whole, nursery):
    folder, _ = whole
    (config,) = folder.glob('work_dirs/tables/two/mixup/*/config.py')
    words = ['train.py', config, '--work-dir', 'hand']
    done = nursery.run(words, folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert 'give them by --weights FILE' in done.stderr
    others = [
        path
        for path in folder.glob('work_dirs/weights/first/*/epoch_1.pth')
        if path.parent.name not in config.read_text()
    ]
    wrong = next(path for path in others if path.parent.name.partition('-')[0] not in config.read_text())
    done = nursery.run([*words, '--weights', wrong], folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert 'and the recipe starts from run' in done.stderr


def test_both_tables_at_once_train_the_stage_once(tmp_path, nursery):
    folder = write(tmp_path / 'x', epochs=2)
    write(folder, 2, 'other', TABLE.replace('config: linear.py', 'config: linear.py, train_dataloader.batch_size: 32'))
    running = [
        nursery.start(['benchmark.py', 'run', f'{name}.yaml', '--rows', 'Mixup'], tmp_path / name, cwd=folder)
        for name in ('two', 'other')
    ]
    all_end(running, 0)
    said = [process.said for process in running]
    (first,) = folder.glob('work_dirs/weights/first/*-seed0')
    assert (first / 'log.txt').read_text().count('Checkpoints go to') == 1
    assert len(list(folder.glob('work_dirs/tables/*/mixup/*/trial0/result.json'))) == 2
    assert sum('is at it; what starts from it waits' in each or '2 to run' not in each for each in said) == 1


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, benchmark_py):
    folder = write(tmp_path_factory.mktemp('unbroken'), epochs=6)
    assert benchmark_py('run', 'two.yaml', '--rows', 'Mixup', cwd=folder).returncode == 0
    return results(folder)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize('stage', ['first', 'last'])
def test_killed_in_a_stage_it_goes_on(stage, number, unbroken, tmp_path, benchmark_py, nursery):
    folder = write(tmp_path / 'x', epochs=6)
    pattern = 'work_dirs/weights/first/*-seed0' if stage == 'first' else 'work_dirs/tables/two/mixup/*/trial0'
    process = nursery.start(['benchmark.py', 'run', 'two.yaml', '--rows', 'Mixup'], tmp_path / 'said.txt', cwd=folder)
    try:
        assert until(lambda: any(folder.glob(f'{pattern}/epoch_[1-4].pth')) or process.poll() is not None)
        (run,) = folder.glob(pattern)
        training = holder_at(inside(run))
        assert process.poll() is None
        assert training is not None
        if number == signal.SIGKILL:
            os.kill(training.pid, number)
        os.kill(process.pid, number)
        assert process.ends(SECONDS) == (-number if number == signal.SIGKILL else 128 + number)
    finally:
        process.clear()
    assert not (run / 'result.json').exists()
    assert until(lambda: holder_at(inside(run)) is None)
    stages = ['interrupted', 'pending'] if stage == 'first' else ['done', 'interrupted']
    lines = [
        line.split('│')
        for line in benchmark_py('status', 'two.yaml', '--rows', 'Mixup', cwd=folder).stdout.splitlines()
    ]
    assert [line[4].strip() for line in lines if len(line) > 4][1:] == stages
    done = benchmark_py('run', 'two.yaml', '--rows', 'Mixup', cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'resumed' in done.stdout
    found = results(folder)
    assert {name: numbers(result) for name, result in found.items()} == {
        name: numbers(result) for name, result in unbroken.items()
    }


def test_a_stage_that_fails_is_said(tmp_path, benchmark_py):
    folder = write(tmp_path / 'x')
    options = ['--cfg-options', 'from.model.head.loss.type=nothing']
    done = benchmark_py('run', 'two.yaml', '--rows', 'Mixup', *options, cwd=folder)
    assert done.returncode == 1
    assert 'Mixup / Linear, trial 0: cannot run, its earlier stage (first.py, run ' in done.stdout
    assert "unknown loss 'nothing'" in done.stdout
    state = benchmark_py('status', 'two.yaml', '--rows', 'Mixup', *options, cwd=folder).stdout
    assert '1 failed, 1 blocked' in state or '1 blocked, 1 failed' in state
    assert 'cannot run, its earlier stage' in state
    shown = benchmark_py('report', 'two.yaml', '--rows', 'Mixup', '--format', 'json', *options, cwd=folder).stdout
    (cell,) = json.loads(shown)['cells']
    assert cell['status'] == 'stage 1 failed (0/1)'


def test_smoke_takes_each_stage(tmp_path, benchmark_py):
    folder = write(tmp_path / 'x')
    done = benchmark_py('run', 'two.yaml', '--smoke', cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '2 of 2 cells run' in done.stdout
    assert not (folder / 'work_dirs').exists()
    done = benchmark_py('run', 'two.yaml', '--smoke', '--cfg-options', 'from.model.backbone.width=4', cwd=folder)
    assert done.returncode == 1
    assert "'backbone.conv1.weight' is (4, 3, 3, 3), not (8, 3, 3, 3)" in done.stdout
    options = ['--cfg-options', 'from.model.head.loss.type=nothing']
    done = benchmark_py('run', 'two.yaml', '--smoke', *options, cwd=folder)
    assert done.stdout.count("its earlier stage first.py: model.head.loss: unknown loss 'nothing'") == 2
