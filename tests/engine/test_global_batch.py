"""With another global batch size, the whole learning rate schedule is scaled, or a line says that it is not."""

import types
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from torch import nn

from openmix.config import load_config
from openmix.engine.global_batch import enable_scaling, match_learning_rate
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent.parent
COSINE = dict(type='CosineAnnealingLR', T_max=10, eta_min=0.01, by_epoch=False)
SCHEDULES = {
    'none': None,
    'cosine to eta_min': [COSINE],
    'one dict': COSINE,
    'cosine to a ratio': [dict(type='CosineAnnealingLR', T_max=10, eta_min_ratio=0.1, by_epoch=False)],
    'warm-up': [
        dict(type='LinearLR', start_factor=0.1, begin=0, end=4, by_epoch=False),
        dict(type='CosineAnnealingLR', begin=4, T_max=8, eta_min=0.02, by_epoch=False),
    ],
    'steps': [dict(type='MultiStepLR', milestones=[3, 6], gamma=0.1, by_epoch=False)],
    'polynomial': [dict(type='PolyLR', power=0.9, eta_min=0.005, end=10, by_epoch=False)],
    'one cycle': [dict(type='OneCycleLR', eta_max=0.5, total_steps=12, by_epoch=False)],
    'restarts': [dict(type='CosineRestartLR', periods=[5, 8], restart_weights=[1, 0.5], eta_min=0.01, by_epoch=False)],
    'named': [dict(COSINE, type='CosineAnnealingParamScheduler', param_name='lr')],
}


class FakeRunner:
    """The attributes of a runner that `match_learning_rate` reads; records the log."""

    def __init__(self, world_size, batch_size, schedule=None):
        self.world_size, self.param_schedulers = world_size, schedule
        self._train_dataloader = {'batch_size': batch_size}
        self.said = []
        self.logger = types.SimpleNamespace(
            warning=lambda text: self.said.append(('warning', text)), info=lambda text: self.said.append(('info', text))
        )


def optimiser(accumulated=1):
    groups = [dict(params=nn.Linear(2, 2).parameters(), lr=0.1), dict(params=nn.Linear(2, 2).parameters(), lr=0.4)]
    optimizer = torch.optim.SGD(groups, lr=0.2, momentum=0.9, weight_decay=1e-4)
    return OptimWrapper(optimizer, accumulative_counts=accumulated)


def curve(schedule, world_size=1, batch=100, accumulated=1, **auto_scale_lr):
    """Return the learning rates (12, groups) of a run."""
    init_default_scope('openmix')
    wrapper, runner = optimiser(accumulated), FakeRunner(world_size, batch, schedule)
    match_learning_rate(runner, wrapper, auto_scale_lr or None)
    cfgs = runner.param_schedulers or []
    schedulers = [
        PARAM_SCHEDULERS.build(dict(cfg), default_args=dict(optimizer=wrapper))
        for cfg in (cfgs if isinstance(cfgs, list) else [cfgs])
    ]
    rows = []
    for _ in range(12):
        rows.append([group['lr'] for group in wrapper.param_groups])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    assert {group['weight_decay'] for group in wrapper.optimizer.param_groups} == {1e-4}
    assert {group['momentum'] for group in wrapper.optimizer.param_groups} == {0.9}
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize('schedule', SCHEDULES.values(), ids=SCHEDULES)
def test_the_whole_curve_is_scaled(schedule):
    plain = curve(schedule)
    assert plain.shape == (12, 3)  # the last: what mmengine logs as the base
    wide = curve(schedule, world_size=4, batch=50, accumulated=2, base_batch_size=100, enable=True)
    torch.testing.assert_close(wide, 4 * plain, rtol=1e-12, atol=1e-15)
    kept = curve(schedule, world_size=4, batch=50, accumulated=2, base_batch_size=100, enable=False)
    torch.testing.assert_close(kept, plain, rtol=0, atol=0)


def test_a_momentum_schedule_stays():
    schedule = [dict(type='CosineAnnealingMomentum', T_max=10, eta_min=0.5, by_epoch=False)]
    runner = FakeRunner(2, 100, schedule)
    match_learning_rate(runner, optimiser(), dict(base_batch_size=100, enable=True))
    assert runner.param_schedulers == schedule
    assert runner.param_schedulers[0] is not schedule[0]


@pytest.mark.parametrize(
    ('world_size', 'batch', 'accumulated', 'said'),
    [
        (1, 100, 1, None),
        (2, 25, 2, None),
        (8, 100, 1, 'The global batch is 800 (processes 8 x batch 100 x accumulated iterations 1), the recipe was made '
         'for 100: its learning rate 0.2 is kept; --auto-scale-lr trains with 1.6'),
        (1, 32, 1, 'The global batch is 32 (processes 1 x batch 32 x accumulated iterations 1), the recipe was made '
         'for 100: its learning rate 0.2 is kept; --auto-scale-lr trains with 0.064'),
        (2, 100, 4, 'The global batch is 800 (processes 2 x batch 100 x accumulated iterations 4), the recipe was made '
         'for 100: its learning rate 0.2 is kept; --auto-scale-lr trains with 1.6'),
    ],
)  # fmt: skip
def test_one_line_where_the_batch_is_not_the_recipes(world_size, batch, accumulated, said):
    runner = FakeRunner(world_size, batch)
    match_learning_rate(runner, optimiser(accumulated), dict(base_batch_size=100, enable=False))
    assert runner.said == ([('warning', said)] if said else [])


def test_a_recipe_without_a_global_batch_says_nothing():
    runner = FakeRunner(8, 100)
    match_learning_rate(runner, optimiser(), None)
    assert runner.said == []
    with pytest.raises(InputError, match=r'auto_scale_lr=dict\(base_batch_size'):
        enable_scaling(Config(dict(model=dict())))


@pytest.mark.parametrize('base', [None, 0, 'many', 10.5])
def test_a_wrong_base_is_one_line(base):
    with pytest.raises(InputError, match=r'auto_scale_lr\.base_batch_size must be (an integer )?>= 1'):
        match_learning_rate(FakeRunner(8, 100), optimiser(), dict(base_batch_size=base))


RECIPES = sorted(
    path.relative_to(ROOT / 'configs').as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if not {'_base_', 'tables'} & set(path.relative_to(ROOT / 'configs').parts)
)


@pytest.mark.parametrize('recipe', RECIPES)
def test_every_recipe_states_its_global_batch(recipe):
    cfg = load_config(recipe)
    batch = cfg.train_dataloader.batch_size * cfg.optim_wrapper.get('accumulative_counts', 1)
    assert cfg.auto_scale_lr.base_batch_size % batch == 0
    assert cfg.auto_scale_lr.enable is False


@pytest.mark.slow
def test_the_command_scales_what_it_is_asked_to(nursery, tmp_path):
    small = ['--cfg-options', 'model.backbone.depth=8', 'train_dataloader.batch_size=240', 'train_cfg.max_epochs=1']
    said = {}
    for option in ('', '--auto-scale-lr'):
        call = ['train.py', 'classification/digits/resnet20.py', '--dry-run', 2, *([option] if option else []), *small]
        done = nursery.run(call, tmp_path, {'CUDA_VISIBLE_DEVICES': ''})
        assert done.returncode == 0, done.stderr[-3000:]
        said[option] = done.stdout + done.stderr
    assert said[''].count('is kept; --auto-scale-lr trains with 0.375') == 1
    assert 'learning rates are multiplied by 3.75, 0.1 becomes 0.375' in said['--auto-scale-lr']
