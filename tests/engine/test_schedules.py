"""Schedules are as long as the run, in both loops."""

import math
import warnings

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from openmix.algorithm import Algorithm
from openmix.config import load_config
from openmix.engine.algorithm_hook import AlgorithmHook
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.launch import prepare
from openmix.engine.runner import Runner
from openmix.engine.schedules import ParamSchedulerHook, with_end
from openmix.errors import InputError
from openmix.registry import PARAM_SCHEDULERS, known_to

PER_EPOCH = 7
METRIC = 'accuracy/nll'
WARM_UP = dict(type='LinearLR', start_factor=0.1, begin=0, end=1)
# The required arguments of each kind of schedule.
KINDS = {
    'Constant': dict(factor=0.5, end=2),
    'CosineAnnealing': dict(eta_min=0.01),
    'CosineDecay': dict(angle=7 / 16),
    'CosineRestart': dict(periods=[2, 1], restart_weights=[1, 0.5], eta_min=0.0),
    'Cyclic': dict(peak=1.5, low=0.5, cycles=1, rise=0.4),
    'Exponential': dict(gamma=0.9),
    'Linear': dict(start_factor=0.2),
    'MultiStep': dict(milestones=[1, 2]),
    'OneCycle': dict(eta_max=1.0),
    'PartCosineAnnealing': dict(eta_min=0.01),
    'Poly': dict(power=0.9, eta_min=0.01),
    'ReduceOnPlateau': dict(monitor=METRIC, patience=0, factor=0.5),
    'Step': dict(step_size=1),
}
NAMES = sorted(known_to(PARAM_SCHEDULERS))


def schedule(name, **options):
    kind = next(kind for kind in KINDS if name.startswith(kind))
    of = {'param_name': 'lr'} if name.endswith('ParamScheduler') else {}
    return {'type': name, **of, **KINDS[kind], **options}


class Recorder(Hook):
    """Record the parameters of each step; every validation returns the same metric."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (group,) = runner.optim_wrapper.optimizer.param_groups
        self.seen.append((group['lr'], group['momentum']))


class Validation(BaseLoop):
    """A placeholder for a validation that always returns the same metric."""

    def run(self):
        self.runner.call_hook('after_val_epoch', metrics={METRIC: 1.0})


class Stepping(Algorithm):
    def __init__(self, *sizes):
        super().__init__()
        self.backbone = nn.Linear(*sizes)

    def forward(self, x):
        return self.backbone(x)

    def train_step(self, data, optim_wrapper):
        optim_wrapper.update_params(self(torch.ones(1, 2)).sum())
        return {}


@pytest.fixture(scope='module')
def runners(tmp_path_factory):
    """Return a runner by epoch and one by iteration, with 7 batches per epoch."""
    found = {}
    for name, loop in (
        ('epochs', dict(type='EpochBasedTrainLoop', max_epochs=3)),
        ('iterations', dict(type='IterBasedTrainLoop', max_iters=3 * PER_EPOCH, val_interval=PER_EPOCH)),
    ):
        options = {'train_dataloader.batch_size': 220, 'log_level': 'ERROR', 'vis_backends': []}
        cfg = load_config('classification/digits/resnet20.py', options)
        cfg.train_cfg, cfg.experiment_name = loop, name
        cfg = prepare(cfg)
        cfg.work_dir = str(tmp_path_factory.mktemp(name))
        found[name] = Runner.from_cfg(cfg)
        assert len(found[name].train_dataloader) == PER_EPOCH
    return found


def trained(runner, schedules, length=None, accumulated=1):
    """Return the learning rate and momentum of every step of the runner's loop, and those after the last step."""
    runner.model = Stepping(2, 1)
    optimizer = torch.optim.SGD(runner.model.parameters(), lr=0.5, momentum=0.9)
    runner.optim_wrapper = OptimWrapper(optimizer, accumulative_counts=accumulated)
    loop, recorder = runner.train_loop, Recorder()
    loop._epoch = loop._iter = 0
    if length is not None:
        loop._max_iters = length
    runner._hooks = [recorder, ParamSchedulerHook()]
    runner._val_loop = Validation(runner, runner.train_dataloader)
    runner.param_schedulers = runner.build_param_scheduler(schedules)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loop.run()
    recorder.before_train_iter(runner, 0)
    loop._max_iters = 3 * PER_EPOCH
    return recorder.seen


@pytest.mark.parametrize('converted', [False, True])
@pytest.mark.parametrize('warm', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_both_loops_train_by_the_same_schedule(runners, name, warm, converted):
    """Every kind that a recipe may name, stepped by epochs or by iterations, with and without a warm-up."""
    of_plateau = name.startswith('ReduceOnPlateau')
    if of_plateau and converted:
        with pytest.raises(InputError, match='leave out convert_to_iter_based'):
            trained(runners['epochs'], schedule(name, convert_to_iter_based=True))
        return
    begin = 1 if warm and not of_plateau else 0
    schedules = [WARM_UP | dict(convert_to_iter_based=True)] if warm and not name.startswith('OneCycle') else []
    schedules.append(schedule(name, begin=begin, convert_to_iter_based=converted))
    by_epoch, by_iteration = (trained(runner, schedules) for runner in runners.values())
    assert len(by_epoch) == 3 * PER_EPOCH + 1
    assert len(set(by_epoch)) > 1, 'a schedule that does nothing proves nothing'
    assert by_iteration == by_epoch


@pytest.mark.parametrize('length', [PER_EPOCH - 2, PER_EPOCH + 1, 2 * PER_EPOCH + 3, 3 * PER_EPOCH])
@pytest.mark.parametrize('kind', ['CosineAnnealingLR', 'PartCosineAnnealingLR', 'PolyLR', 'OneCycleLR', 'LinearLR'])
def test_a_schedule_ends_with_the_run_exactly(runners, kind, length):
    """Also where the run is no whole number of epochs: half way it is half way, at the end it is at its end."""
    seen = [lr for lr, _ in trained(runners['iterations'], schedule(kind, convert_to_iter_based=True), length)]
    whole = trained(runners['iterations'], schedule(kind, by_epoch=False, end=length), length)
    assert seen == [lr for lr, _ in whole]
    assert len(seen) == length + 1
    if 'Cosine' in kind:
        # The next step's would be the end value; the last one has yet to come to it.
        assert seen[-2] > 0.01
        assert seen[length // 2] > 0.2
        assert runners['iterations'].param_schedulers[0].end == length
    end = {'Linear': 0.5, 'OneCycle': 1 / 25 / 1e4}.get(kind.removesuffix('LR'), 0.01)
    assert abs(seen[-1] - end) < 0.5 / length


def closed_form(name, step, steps):
    """Compute the learning rate of an iteration by the formula of each schedule; the optimiser's is 0.5."""
    epoch = step // PER_EPOCH
    return {
        'CosineAnnealing': 0.01 + 0.49 * (1 + math.cos(math.pi * step / steps)) / 2,
        'CosineDecay': 0.5 * math.cos(7 * math.pi * step / (16 * steps)),
        'Exponential': 0.5 * 0.9 ** (step / PER_EPOCH),
        'Linear': 0.5 * (0.2 + 0.8 * step / (steps - 1)),
        'MultiStep': 0.5 * 0.1 ** ((epoch >= 1) + (epoch >= 2)),
        'Poly': 0.01 + 0.49 * (1 - step / (steps - 1)) ** 0.9,
        'Step': 0.5 * 0.1**epoch,
    }[name]


@pytest.mark.parametrize('length', [2 * PER_EPOCH + 3, 3 * PER_EPOCH])
@pytest.mark.parametrize(
    'kind', ['CosineAnnealing', 'CosineDecay', 'Exponential', 'Linear', 'MultiStep', 'Poly', 'Step']
)
def test_stepped_by_iterations_the_rate_is_that_of_the_formula(runners, kind, length):
    """What a schedule says of epochs, such as the factor of one, is not taken for that of an iteration."""
    seen = trained(runners['iterations'], [schedule(f'{kind}LR', convert_to_iter_based=True)], length)
    assert [lr for lr, _ in seen[:length]] == pytest.approx([closed_form(kind, n, length) for n in range(length)])


@pytest.mark.parametrize('kind', ['CosineDecay', 'Exponential', 'MultiStep', 'Step'])
def test_a_schedule_multiplies_a_warm_up_that_overlaps(runners, kind):
    steps = 3 * PER_EPOCH
    warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6)
    seen = trained(runners['iterations'], [warm_up, schedule(f'{kind}LR', convert_to_iter_based=True)])
    wanted = [closed_form(kind, n, steps) * min(1, 0.1 + 0.9 * n / 5) for n in range(steps)]
    assert [lr for lr, _ in seen[:steps]] == pytest.approx(wanted)


def test_the_rate_of_a_shipped_cosine_does_not_stand_still(runners):
    """A cosine to zero over 21 iterations: at two thirds of the run a quarter is left, at the end nothing."""
    seen = trained(runners['iterations'], [dict(type='CosineAnnealingLR', eta_min=0.0, convert_to_iter_based=True)])
    assert seen[14][0] == pytest.approx(0.5 * 0.25)
    assert seen[20][0] == pytest.approx(0.5 * (1 - math.cos(math.pi / 21)) / 2)


def test_the_cosine_that_does_not_reach_zero_by_value():
    """The learning rate of semi-supervised runs: 0.773 of it half-way, 0.195 at the end."""
    steps = 1 << 12
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.03)
    given = dict(type='CosineDecayLR', by_epoch=False, end=steps)
    built = PARAM_SCHEDULERS.build(given, default_args=dict(optimizer=OptimWrapper(optimizer)))
    seen = [optimizer.param_groups[0]['lr']]
    for _ in range(steps - 1):
        optimizer.step()
        built.step()
        seen.append(optimizer.param_groups[0]['lr'])
    assert seen[0] == 0.03
    assert seen[steps // 2] / 0.03 == pytest.approx(0.7730, abs=5e-5)
    assert seen[-1] / 0.03 == pytest.approx(0.1951, abs=5e-4)
    assert seen == pytest.approx([0.03 * math.cos(7 * math.pi * k / (16 * steps)) for k in range(steps)], rel=1e-12)


def test_cycles_by_value():
    """Two cycles of 50 steps and 3 that are left over, against the released code of Automatic Mixup's authors."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=5e-4)
    given = dict(type='CyclicLR', peak=100.0, low=1.0, cycles=2, rise=0.4, by_epoch=False, end=103)
    warm = dict(type='LinearLR', start_factor=1e-5, by_epoch=False, end=11)
    built = [PARAM_SCHEDULERS.build(one, default_args=dict(optimizer=OptimWrapper(optimizer))) for one in (given, warm)]
    seen = []
    for _ in range(103):
        seen.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for one in built:
            one.step()

    def between(start, end, share):
        return end + 0.5 * (start - end) * (math.cos(math.pi * share) + 1)

    wanted = []
    for step in range(103):
        at = step % 51
        rate = between(5e-4, 5e-2, at / 20) if at < 20 else between(5e-2, 5e-4, (at - 20) / 31)
        wanted.append(rate * (1 - (1 - min(step, 10) / 10) * (1 - 1e-5)))
    assert seen == pytest.approx(wanted, rel=1e-9)
    assert max(seen) == pytest.approx(5e-2)


@pytest.mark.parametrize('options', [dict(peak=0.0), dict(low=-1.0), dict(cycles=0), dict(rise=1.0)])
def test_cycles_out_of_range_are_refused(options):
    optimizer = OptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.03))
    with pytest.raises(InputError, match=f'CyclicLR: {next(iter(options))} must be '):
        PARAM_SCHEDULERS.build(dict(type='CyclicLR', **options), default_args=dict(optimizer=optimizer))


@pytest.mark.parametrize('angle', [0.0, 0.6, '7/16'])
def test_an_angle_that_leads_beyond_zero_is_refused(angle):
    optimizer = OptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.03))
    with pytest.raises(InputError, match='CosineDecayLR: angle must be '):
        PARAM_SCHEDULERS.build(dict(type='CosineDecayLR', angle=angle), default_args=dict(optimizer=optimizer))


def test_a_dry_run_follows_the_schedule_of_the_whole_run(runners):
    runner = runners['iterations']
    whole = trained(runner, schedule('CosineAnnealingLR', convert_to_iter_based=True))
    runner.schedule_iters = 3 * PER_EPOCH
    first = trained(runner, schedule('CosineAnnealingLR', convert_to_iter_based=True), 4)
    steps = []
    runner.model.before_step = lambda *at: steps.append(at)
    AlgorithmHook().before_train_iter(runner, 0)
    runner.schedule_iters = None
    assert first == whole[:5]
    assert steps == [(4, 3 * PER_EPOCH)]


def test_schedules_count_iterations_under_accumulation(runners):
    """And nobody is told that the optimiser should have stepped first."""
    given = schedule('CosineAnnealingLR', convert_to_iter_based=True)
    assert trained(runners['epochs'], given, accumulated=3) == trained(runners['epochs'], given)


@pytest.mark.parametrize('name', NAMES)
def test_the_state_of_every_schedule_can_be_read_back(runners, name, tmp_path):
    """A checkpoint is read without running code, so the state may hold plain values alone."""
    given = schedule(name)
    trained(runners['epochs'], given)
    (built,) = runners['epochs'].param_schedulers
    torch.save({'state_dict': {}, 'param_schedulers': [built.state_dict()]}, tmp_path / 'a.pth')
    (state,) = read_checkpoint(tmp_path / 'a.pth')['param_schedulers']
    runners['epochs'].optim_wrapper.optimizer.param_groups[0]['lr'] = 0.5
    (again,) = runners['epochs'].build_param_scheduler(given)
    again.load_state_dict(state)
    assert again.state_dict() == built.state_dict()
    again.step()


def test_which_way_is_better_follows_from_the_name(runners):
    """The rate is cut where accuracy stands still and where it falls, not where it rises."""
    for metric, values, cut in (('accuracy/top1', [1, 2, 3, 4], False), ('accuracy/nll', [1, 2, 3, 4], True)):
        given = dict(type='ReduceOnPlateauLR', monitor=metric, patience=1, factor=0.5)
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        built = PARAM_SCHEDULERS.build(given, default_args=dict(optimizer=OptimWrapper(optimizer)))
        for value in values:
            built.step({metric: value})
        assert (optimizer.param_groups[0]['lr'] < 1) == cut, metric
    with pytest.raises(InputError, match="no metric 'accuracy/nll' was measured; did you mean 'accuracy/nl'"):
        built.step({'accuracy/nl': 1.0})


def test_a_schedule_behind_the_end_is_refused():
    late = dict(type='CosineAnnealingLR', begin=5, convert_to_iter_based=True)
    with pytest.raises(InputError, match=r'CosineAnnealingLR begins at epoch 5, but ends at epoch 2\.5'):
        with_end(late, 25, 10)
    assert with_end(late, 51, 10)['end'] * 10 == 51
