"""The hooks that a training needs are added to any list of hooks in a recipe, in the right order."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.engine.needs import choose_backends, complete_hooks
from openmix.engine.runner import Runner
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent.parent
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4), policy=dict(type='Mixup'))
train_dataloader = dict(batch_size=500)
train_cfg = dict(max_epochs=2)
"""
BASE = ['StepSeedHook', 'AlgorithmHook', 'RankZeroBuffersHook', 'FiniteLossHook', 'ResultHook']
STOPPING = dict(type='EarlyStoppingHook', monitor='loss', patience=1)
AVERAGE = dict(type='EMAHook', momentum=0.1)


def completed(**changes):
    cfg = load_config('classification/digits/resnet20.py')
    for key, value in changes.items():
        cfg[key] = value
    complete_hooks(cfg)
    return cfg


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ([], BASE),
        (None, BASE),
        (['EMAHook'], [*BASE, 'EMAHook']),
        (['AlgorithmHook', 'EMAHook'], ['StepSeedHook', 'AlgorithmHook', *BASE[2:], 'EMAHook']),
        ([*BASE[:-1], 'EMAHook'], [*BASE, 'EMAHook']),
        (['EMAHook', 'ResultHook'], [*BASE[:4], 'EMAHook', 'ResultHook']),
        ([*BASE, 'EMAHook'], [*BASE, 'EMAHook']),
    ],
    ids=str,
)
def test_every_list_is_completed_in_order(given, expected):
    hooks = given and [AVERAGE if name == 'EMAHook' else dict(type=name) for name in given]
    assert [hook.type for hook in completed(custom_hooks=hooks).custom_hooks] == expected


def test_arguments_of_a_hook_in_the_list_stay():
    cfg = completed(custom_hooks=[dict(type='StepSeedHook', shared=True)])
    assert [hook.type for hook in cfg.custom_hooks] == BASE
    assert cfg.custom_hooks[0].shared is True
    assert (
        prepare(load_config('classification/digits/resnet20.py', {'custom_hooks.0.shared': True}))
        .custom_hooks[0]
        .shared
    )


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        (dict(default_hooks=dict(runtime_info=None)), 'runtime_info: None would leave the run without its losses'),
        (dict(default_hooks=dict(param_scheduler=None)), 'set param_scheduler=None'),
        (dict(custom_hooks=[AVERAGE, AVERAGE]), '2 hooks of type EMAHook'),
        (dict(custom_hooks=[dict(type='StepSeedHook'), dict(type='StepSeedHook')]), '2 hooks of type StepSeedHook'),
        (dict(custom_hooks=[dict(type='ParamSchedulerHook')]), '2 hooks of type ParamSchedulerHook'),
        (dict(custom_hooks=[dict(type='CheckpointHook')]), '2 hooks of type CheckpointHook'),
        (dict(custom_hooks=[STOPPING, {**STOPPING, 'patience': 9}]), "two hooks of type EarlyStoppingHook for 'loss'"),
        (dict(default_hooks=dict(stop=STOPPING), custom_hooks=[STOPPING]), 'two hooks of type EarlyStoppingHook'),
        (dict(default_hooks=dict(average={**AVERAGE, 'priority': 'LOWEST'})), 'EMAHook: priority must come before'),
        (dict(default_hooks=dict(mine=dict(type='LoggerHook'))), '2 hooks of type LoggerHook'),
    ],
    ids=str,
)
def test_what_a_run_cannot_be_made_of_is_one_line(changes, line):
    with pytest.raises(InputError, match=line) as caught:
        completed(**changes)
    assert '\n' not in str(caught.value)


def test_what_a_run_can_do_without_may_be_left_out():
    off = dict(timer=None, logger=None, sampler_seed=None, checkpoint=None, mixed_accuracy=None)
    assert completed(default_hooks=off).default_hooks == {key: None for key in off if key != 'mixed_accuracy'}
    assert completed(default_hooks=dict(param_scheduler=None), param_scheduler=None).default_hooks


def test_a_run_may_be_ended_by_two_metrics():
    both = [STOPPING, {**STOPPING, 'monitor': 'accuracy/top1'}]
    assert completed(custom_hooks=both).custom_hooks[-2:] == both


def test_backends_of_a_child_recipe_are_the_visualizers():
    cfg = load_config('classification/digits/resnet20.py', {'vis_backends': [dict(type='LocalVisBackend')]})
    choose_backends(cfg)
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend']
    own = load_config('classification/digits/resnet20.py', {'visualizer.vis_backends': []})
    with pytest.raises(InputError, match='set vis_backends alone'):
        choose_backends(own)


def rows(folder):
    found = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != 'time_s'} for row in found]


def test_a_recipe_without_hooks_trains_as_one_with_those_of_the_base(tmp_path, monkeypatch, call):
    """The same draws, the same result; its own choice of backends is applied; and with hooks turned off."""
    monkeypatch.chdir(tmp_path)
    Path('all.py').write_text(RECIPE)
    alone = 'custom_hooks = []\nvis_backends = []\ndefault_hooks = dict(timer=None, sampler_seed=None)\n'
    Path('none.py').write_text(RECIPE + alone)
    for name in ('all', 'none'):
        code, said, err = call('train.py', f'{name}.py', '--work-dir', tmp_path / name)
        assert code == 0, said + err
        assert said.strip().endswith(f'{tmp_path / name}/result.json')
        assert (tmp_path / name / 'result.json').is_file()
    assert rows(tmp_path / 'all') == rows(tmp_path / 'none')
    assert len(list((tmp_path / 'all').glob('*/vis_data/events.*'))) == 1
    assert list((tmp_path / 'none').glob('*/vis_data/events.*')) == []
    code, said, err = call('train.py', 'none.py', '--dry-run', '2')
    assert code == 0, said + err
    assert 'dry run' in said


@pytest.mark.skipif(torch.accelerator.is_available(), reason='memory is pinned for an accelerator')
def test_memory_is_not_pinned_for_nobody():
    """Torch would say so at every pass over the data."""
    loader = load_config('classification/digits/resnet20.py').val_dataloader
    init_default_scope('openmix')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        batches = list(Runner.build_dataloader({**loader, 'pin_memory': True}, seed=0))
    assert len(batches) == 1
