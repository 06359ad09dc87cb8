"""With more workers than cores, a command prints one warning with the number of cores and the remedy."""

import os

import pytest
from processes import ROOT

from openmix.engine.workers import more_than_cores

pytestmark = pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='takes cores from a process')
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4))
train_dataloader = dict(batch_size=500, num_workers=2)
val_dataloader = dict(num_workers=3)
test_dataloader = dict(num_workers=2)
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture
def said(nursery):
    """Return a function that runs a command on one core and returns its warnings of workers."""

    def run(*words):
        with nursery.on_one_core():
            done = nursery.run(words)
        assert done.returncode == 0, done.stderr
        assert 'This DataLoader will create' not in done.stdout + done.stderr
        return [line.partition('WARNING - ')[2] for line in done.stdout.splitlines() if 'num_workers' in line]

    return run


def test_every_command_says_it_once(said, tmp_path):
    recipe, work = tmp_path / 'many.py', tmp_path / 'work'
    recipe.write_text(RECIPE)
    of_training = [
        'train_dataloader.num_workers is 2, val_dataloader.num_workers is 3, and this process has 1 core: '
        'lower num_workers'
    ]
    assert said('train.py', recipe, '--work-dir', work) == of_training
    assert said('test.py', recipe, work / 'epoch_1.pth') == [
        'test_dataloader.num_workers is 2, and this process has 1 core: lower num_workers'
    ]
    assert said('train.py', recipe, '--dry-run', '2') == [
        of_training[0].replace(' val_dataloader.num_workers is 3,', '')
    ]


def test_as_many_workers_as_cores_are_not_spoken_of(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1})
    cfg = {'train_dataloader': {'num_workers': 2}, 'val_dataloader': None, 'test_dataloader': {'num_workers': 3}}
    assert more_than_cores(cfg, ['train', 'val']) is None
    assert more_than_cores(cfg, ['test']) == (
        'test_dataloader.num_workers is 3, and this process has 2 cores: lower num_workers'
    )
