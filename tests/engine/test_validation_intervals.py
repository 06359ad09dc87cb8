"""Test validation intervals, also those that change during a run."""

import json
from pathlib import Path

import pytest

from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.loops import interval_changes
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent.parent
# One iteration an epoch.
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4))
train_dataloader = dict(dataset=dict(subset=20), batch_size=20)
val_dataloader = dict(dataset=dict(subset=20))
vis_backends = []
param_scheduler = None
"""
LOOPS = {'epochs': "type='EpochBasedTrainLoop', max_epochs=7", 'iterations': "type='IterBasedTrainLoop', max_iters=7"}
# The interval, its changes, and after which epochs or iterations there is a validation; the last is always judged.
INTERVALS = [
    ('3', 'None', [3, 6, 7]),
    ('9', '[(4, 1)]', [4, 5, 6, 7]),
    ('1', '[[3, 2], [6, 9]]', [1, 2, 4, 7]),
]


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize(('interval', 'changes', 'judged'), INTERVALS, ids=['none', 'tuples', 'lists'])
def test_intervals_hold_from_where_they_say(tmp_path, loop, interval, changes, judged):
    length = f'{LOOPS[loop]}, val_interval={interval}, dynamic_intervals={changes}'
    (tmp_path / 'mine.py').write_text(f'{RECIPE}train_cfg = dict(_delete_=True, {length})\n')
    cfg = launch.prepare(load_config(tmp_path / 'mine.py'))
    cfg.work_dir = str(tmp_path / 'run')
    result = json.loads(launch.train(cfg).read_text())
    assert [row['iter'] for row in result['history'] if 'accuracy/top1' in row] == judged


@pytest.mark.parametrize(
    'wrong', [[(1, 0)], [(0, 1)], [(1,)], [3], [(2, 1), (2, 3)], [(1.5, 1)], [('a', 1)], [(1, True)]]
)
def test_changes_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match='pairs of whole numbers'):
        interval_changes(wrong)
