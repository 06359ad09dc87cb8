"""A run logs ten kinds of lines; every number appears once, with the same value in all records."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.runner import Runner

ROOT = Path(__file__).parent.parent.parent
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4))
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.1)]
"""
LOOPS = {
    'epochs': 'train_cfg = dict(max_epochs=3)\n',
    'iterations': "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=50, val_interval=20)\n",
}


def run(folder, *words):
    """Run a command in a process that imports all it needs, and may be warned of it."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    call = [sys.executable, str(ROOT / 'tools' / words[0]), *words[1:]]
    done = subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def points(folder):
    """Read the values of the TensorBoard events, by tag and iteration."""
    (events,) = folder.glob('*/vis_data/events.*')
    read = EventAccumulator(str(events), size_guidance={'scalars': 0})
    read.Reload()
    return {tag: {at.step: at.value for at in read.Scalars(tag)} for tag in read.Tags()['scalars']}


@pytest.mark.slow
@pytest.mark.parametrize('loop', LOOPS)
def test_log_events_and_files_say_the_same(tmp_path, nursery, loop):
    (tmp_path / 'mine.py').write_text(f'{RECIPE}{LOOPS[loop]}')
    if loop == 'epochs':
        said, err = run(tmp_path, 'train.py', 'mine.py', '--work-dir', 'run')
    else:
        done = nursery.run(['train.py', 'mine.py', '--work-dir', 'run'], tmp_path, {'CUDA_VISIBLE_DEVICES': ''})
        said, err = done.stdout, done.stderr
    assert err == ''
    assert len(said.splitlines()) < 15, said
    for word in ('warning', 'deprecat', 'Hooks will be', 'dict('):
        assert word not in said.lower()
    rows = [json.loads(line) for line in (tmp_path / 'run/metrics.jsonl').read_text().splitlines()]
    result = json.loads((tmp_path / 'run/result.json').read_text())
    assert result['history'] == rows
    assert [row['iter'] for row in rows] == ([23, 46, 69] if loop == 'epochs' else [20, 40, 50])
    tags = points(tmp_path / 'run')
    assert {tag.partition('/')[0] for tag in tags} == {'train', 'val', 'epoch'}
    assert tags['epoch'] == pytest.approx({at: at / 23 for at in tags['epoch']}, rel=1e-6)
    assert tags['train/time'].keys() == tags['train/loss'].keys()
    for row in rows:
        at = row['iter']
        for name, value in row.items():
            if name in ('epoch', 'iter', 'time_s'):
                continue
            tag = f'train/{name}' if name in ('loss', 'lr') else f'val/{name}'
            assert tags[tag][at] == pytest.approx(value, rel=1e-6), tag
        (line,) = [line for line in said.splitlines() if f'iteration {at}/' in line and 'validation' not in line]
        assert f'  loss {row["loss"]:.4f}  ' in line
        assert f'  lr {row["lr"]:.4g}  ' in line
        (line,) = [line for line in said.splitlines() if f'validation  iteration {at}/' in line]
        for name in ('accuracy/top1', 'accuracy/raw/nll'):
            assert f'{name} {row[name]:.4f}' in line
    tested, _ = run(tmp_path, 'test.py', 'mine.py', 'run/epoch_3.pth', '--ema')
    assert len(tested.splitlines()) < 6, tested
    assert json.loads(tested.splitlines()[-1])['accuracy/top1'] == rows[-1]['accuracy/top1']


@pytest.mark.slow
def test_the_lines_between_say_what_they_mean(tmp_path, nursery):
    """Every so many iterations: the mean loss since the last line of metrics.jsonl, and the rate of the last step."""
    (tmp_path / 'mine.py').write_text(f'{RECIPE}train_cfg = dict(max_epochs=2)\n')
    words = ['train.py', 'mine.py', '--work-dir', 'run', '--cfg-options', 'default_hooks.logger.interval=1']
    said = nursery.run(words, tmp_path, {'CUDA_VISIBLE_DEVICES': ''}).stdout
    tags = points(tmp_path / 'run')
    losses, rates = tags['train/loss'], tags['train/lr']
    assert sorted(losses) == list(range(1, 47))
    assert len(re.findall(r'^.*epoch \d/2  iteration \d+/46  loss', said, re.MULTILINE)) == 46
    rows = [json.loads(line) for line in (tmp_path / 'run/metrics.jsonl').read_text().splitlines()]
    for row in rows:
        first = row['iter'] - 22
        # From the running means the losses of single iterations; their mean is the row's.
        single = [losses[first]]
        single += [losses[i] * (i - first + 1) - losses[i - 1] * (i - first) for i in range(first + 1, first + 23)]
        assert sum(single) / 23 == pytest.approx(row['loss'], rel=1e-5)
        assert min(single) < row['loss'] < max(single)
    assert rates[1] == pytest.approx(0.1)
    assert list(rates.values()) == sorted(rates.values(), reverse=True)
    assert rates[46] == pytest.approx(rows[-1]['lr'])
    assert rates[46] > 0


def test_runs_of_one_process_that_begin_within_a_second_share_no_log_and_no_record(tmp_path, monkeypatch):
    set_up, logs, histories = Runner.setup_env, [], []

    def at_noon(self, env_cfg):
        set_up(self, env_cfg)
        self._timestamp = '20260101_120000'

    monkeypatch.setattr(Runner, 'setup_env', at_noon)
    small = {'model.backbone.depth': 8, 'model.backbone.width': 4, 'train_dataloader.dataset.subset': 64}
    for name in ('one', 'two'):
        cfg = launch.prepare(load_config('classification/digits/resnet20.py', {**small, 'train_cfg.max_epochs': 1}))
        cfg.work_dir = str(tmp_path / name)
        histories.append(json.loads(launch.train(cfg).read_text())['history'][0])
        logs.append((tmp_path / name / '20260101_120000/20260101_120000.log').read_text())
    assert [log.count('Checkpoints go to') for log in logs] == [1, 1]
    assert histories[0]['loss'] == histories[1]['loss']
