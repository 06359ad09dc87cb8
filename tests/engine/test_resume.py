"""A run that was killed, stopped or ran out of disk space resumes with the same results."""

import json
import os
import re
import resource
import shutil
import signal
from pathlib import Path

import kill_and_resume as harness
import pytest
import torch

from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.checkpoint_folder import LATEST, checkpoints_in, newest_intact
from openmix.errors import InputError

pytestmark = pytest.mark.slow
ITERATIONS = "dict(_delete_=True, type='IterBasedTrainLoop', max_iters=28, val_interval=7)"


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp('recipe')
    harness.write_images(folder / 'images')
    return harness.write_recipe(folder, folder / 'images', 'dict(max_epochs=4)')


@pytest.fixture(scope='module')
def alone(recipe):
    harness.finish(recipe, recipe.parent / 'alone')
    return recipe.parent / 'alone'


def run(recipe: Path, work_dir: Path, *options: str, code: int = 0) -> str:
    codes = harness.wait(harness.start(recipe, work_dir, options=options), harness.SECONDS)
    assert codes == [code], harness.log_of(work_dir)
    assert 'Traceback' not in harness.log_of(work_dir)
    return harness.log_of(work_dir).strip().splitlines()[-1]


def test_killed_ten_times(recipe, tmp_path):
    recipe = harness.write_recipe(tmp_path, recipe.parent / 'images', 'dict(max_epochs=10)')
    harness.finish(recipe, tmp_path / 'alone')
    fell = harness.kill(recipe, tmp_path / 'killed', 10, iterations=30, seed=0)
    assert fell['inside a write'] > 0
    assert fell['elsewhere'] > 0
    harness.finish(recipe, tmp_path / 'killed', options=harness.resume_options(tmp_path / 'killed'))
    assert harness.differences(tmp_path / 'alone', tmp_path / 'killed') == []
    assert not any((tmp_path / 'killed').glob('.partial-*'))


def test_twice_the_same(recipe, alone, tmp_path):
    """Nothing but the seed decides a run; not even how many workers read its images."""
    options = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    run(recipe, tmp_path / 'again', '--cfg-options', *options)
    assert [place for place in harness.differences(alone, tmp_path / 'again') if 'config_hash' not in place] == []


def test_killed_with_two_processes(recipe, tmp_path):
    harness.finish(recipe, tmp_path / 'alone', processes=2)
    harness.kill(recipe, tmp_path / 'killed', 2, iterations=20, seed=1, processes=2)
    harness.finish(recipe, tmp_path / 'killed', 2, harness.resume_options(tmp_path / 'killed'))
    assert harness.differences(tmp_path / 'alone', tmp_path / 'killed') == []


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_what_to_type(recipe, alone, tmp_path, number):
    options = ['--cfg-options', 'default_hooks.checkpoint.minutes=None']
    (child,) = harness.start(recipe, tmp_path / 'run', options=options, stops_before=2)
    harness.wait_until_stopped([child])
    os.kill(child, number)
    os.kill(child, signal.SIGCONT)
    assert harness.wait([child], harness.SECONDS) == [128 + number], harness.log_of(tmp_path / 'run')
    last = harness.log_of(tmp_path / 'run').strip().splitlines()[-1]
    assert 'go on with: ' in last
    assert last.endswith('--resume')
    assert next(path.name for path in checkpoints_in(tmp_path / 'run')) == LATEST
    run(recipe, tmp_path / 'run', '--resume')
    assert harness.differences(alone, tmp_path / 'run') == []
    assert not (tmp_path / 'run' / LATEST).exists()
    assert 'recipe differs' not in (tmp_path / 'run.rank0.log').read_text()


def test_two_processes_leave_together(recipe, tmp_path):
    children = harness.start(recipe, tmp_path / 'run', processes=2, stops_before=2)
    harness.wait_until_stopped(children)
    os.kill(children[1], signal.SIGTERM)
    for child in children:
        os.kill(child, signal.SIGCONT)
    assert harness.wait(children, harness.SECONDS) == [143, 143], harness.log_of(tmp_path / 'run')
    assert checkpoints_in(tmp_path / 'run')


def test_a_lost_validation_is_run_again(recipe, alone, tmp_path):
    shutil.copytree(alone, tmp_path / 'run')
    rows = [json.loads(line) for line in (alone / 'metrics.jsonl').read_text().splitlines()]
    kept = [json.dumps(row) for row in rows[:-1]]
    (tmp_path / 'run/metrics.jsonl').write_text('\n'.join(kept) + '\n')
    (tmp_path / 'run/result.json').unlink()
    run(recipe, tmp_path / 'run', '--resume')
    assert harness.differences(alone, tmp_path / 'run') == []


def test_iterations_across_passes(recipe, tmp_path):
    """The iteration loop goes on inside a pass, and repeats a validation that was lost."""
    recipe = harness.write_recipe(tmp_path, recipe.parent / 'images', ITERATIONS)
    run(recipe, tmp_path / 'alone')
    rows = [json.loads(line) for line in (tmp_path / 'alone/metrics.jsonl').read_text().splitlines()]
    assert [row['iter'] for row in rows] == [7, 14, 21, 28]
    assert all('loss' in row and 'accuracy/top1' in row for row in rows)
    for at, recorded in ((14, 1), (16, 2)):
        folder, hook = tmp_path / f'at{at}', 'default_hooks.checkpoint'
        run(
            recipe,
            folder,
            '--cfg-options',
            f'{hook}.by_epoch=False',
            f'{hook}.interval={at}',
            f'{hook}.max_keep_ckpts=2',
        )
        (folder / 'iter_28.pth').unlink()
        (folder / 'result.json').unlink()
        lines = (folder / 'metrics.jsonl').read_text().splitlines()[:recorded]
        (folder / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')
        run(recipe, folder, '--resume', '--cfg-options', f'{hook}.max_keep_ckpts=1')
        assert harness.differences(tmp_path / 'alone', folder) == []


def test_the_newest_intact_checkpoint_is_taken(recipe, alone, tmp_path, capsys):
    shutil.copytree(alone, tmp_path / 'run')
    (whole,) = (tmp_path / 'run').glob('epoch_*.pth')
    half = tmp_path / 'run' / LATEST
    half.write_bytes(whole.read_bytes()[:5000])
    found = newest_intact(tmp_path / 'run')
    assert found.path == whole
    assert found.meta.iteration == 40
    assert str(half) in capsys.readouterr().err
    whole.unlink()
    with pytest.raises(InputError, match='nothing to resume'):
        newest_intact(tmp_path / 'run')


def test_a_fresh_start_sets_old_checkpoints_aside(recipe, alone, tmp_path):
    """Killed before its first checkpoint, it must not go on from an earlier run's."""
    shutil.copytree(alone, tmp_path / 'run')
    (old,) = (tmp_path / 'run').glob('epoch_*.pth')
    before = old.read_bytes()
    (child,) = harness.start(recipe, tmp_path / 'run', stops_before=0)
    harness.wait_until_stopped([child])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert old.with_name(f'{old.name}.old').read_bytes() == before
    assert old not in checkpoints_in(tmp_path / 'run')


def test_the_seed_comes_from_the_checkpoint(recipe, alone, tmp_path):
    shutil.copytree(alone, tmp_path / 'run')
    assert 'seed 7' in run(recipe, tmp_path / 'run', '--resume', '--seed', '8', code=2)
    assert read_checkpoint(next((tmp_path / 'run').glob('epoch_*.pth')))['meta']['seed'] == 7


def test_a_checkpoint_runs_no_code(recipe, alone, tmp_path):
    """mmengine runs the recipe of an old one, a program, to compare what no recipe says now."""
    shutil.copytree(alone, tmp_path / 'run')
    (path,) = (tmp_path / 'run').glob('epoch_*.pth')
    content = read_checkpoint(path)
    content['meta']['config'] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    torch.save(content, path)
    run(recipe, tmp_path / 'run', '--resume')
    assert not (tmp_path / 'ran').exists()


def test_another_batch_size_cannot_resume(recipe, alone, tmp_path):
    shutil.copytree(alone, tmp_path / 'run')
    line = run(recipe, tmp_path / 'run', '--resume', '--cfg-options', 'train_dataloader.batch_size=5', code=2)
    assert 'train_dataloader.batch_size was 8 and is 5' in line


def test_a_full_disk_keeps_the_old_checkpoint(recipe, alone, tmp_path):
    """A limit on the size of files stands for the disk: the next checkpoint does not fit, the log does."""
    shutil.copytree(alone, tmp_path / 'run')
    (old,) = (tmp_path / 'run').glob('epoch_*.pth')
    before = old.read_bytes()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, usual[1]))
    try:
        line = run(recipe, tmp_path / 'run', '--resume', '--cfg-options', 'train_cfg.max_epochs=6', code=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert line.startswith('error: cannot write')
    assert old.read_bytes() == before
    assert not any((tmp_path / 'run').glob('.partial-*'))


def test_a_loss_that_is_no_number_ends_the_run(recipe, alone, tmp_path):
    shutil.copytree(alone, tmp_path / 'run')
    (good,) = (tmp_path / 'run').glob('epoch_*.pth')
    weights = read_checkpoint(good)
    # Finite, as weights of a file must be; their logits are not.
    weights['ema_state_dict']['module.head.fc.weight'].fill_(3e38)
    torch.save(weights, good)
    line = run(recipe, tmp_path / 'run', '--resume', '--cfg-options', 'train_cfg.max_epochs=6', code=2)
    assert re.search(r'loss became (nan|inf) at iteration 41 \(epoch 5\)', line), line
    assert str(good) in line


@pytest.mark.parametrize('processes', [1, 2])
def test_what_is_remembered_of_the_last_batch(recipe, tmp_path, processes):
    """A policy that mixes with the batch before goes on with it, whose size differs at the end of an epoch."""
    change = "model = dict(head=dict(loss=dict(_delete_=True, type='mix_ce')),\n"
    change += "    policy=dict(_delete_=True, type='RecursiveMix', site='layer3'))\n"
    own = tmp_path / 'recursive.py'
    own.write_text(f"_base_ = '{recipe}'\n{change}train_cfg = dict(max_epochs=2)\n")
    harness.finish(own, tmp_path / 'alone', processes=processes)
    harness.kill(own, tmp_path / 'killed', 2, iterations=20 // processes, seed=1, processes=processes)
    harness.finish(own, tmp_path / 'killed', processes, harness.resume_options(tmp_path / 'killed'))
    assert harness.differences(tmp_path / 'alone', tmp_path / 'killed') == []
    content = read_checkpoint(next(iter(checkpoints_in(tmp_path / 'killed'))))
    for state in (content['state_dict'], content['ema_state_dict']):
        found = [len(value) for key, value in state.items() if '.memory.' in key]
        assert found == [75 % 8 or 8] * 3 if processes == 1 else len(found) == 3
