"""The moving average of all weights in one operation equals mmengine's, which loops over the weights."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook as MMEMAHook
from mmengine.model import ExponentialMovingAverage as Stock
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from torch import nn
from torch.optim import SGD

from openmix.engine.ema_hook import EMAHook, ExponentialMovingAverage
from openmix.errors import InputError
from openmix.registry import HOOKS


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4))


def moved(net):
    """Change all weights, statistics and batch counts of the network."""
    net = copy.deepcopy(net)
    net(torch.randn(5, 2, 3, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    return net


@pytest.mark.parametrize('options', [{}, {'update_buffers': True}, {'interval': 2}, {'momentum': 0.7}], ids=str)
def test_averages_are_equal_to_the_bit(options):
    net = network()
    ours, stock = (kind(net, **{'momentum': 0.1, **options}) for kind in (ExponentialMovingAverage, Stock))
    # The first update of mmengine's copies the model; ours starts from the weights before it.
    stock.update_parameters(net)
    stock.steps.fill_(stock.interval)
    for _ in range(4):
        net = moved(net)
        ours.update_parameters(net)
        stock.update_parameters(net)
        assert ours.state_dict().keys() == stock.state_dict().keys()
        for name, value in stock.module.state_dict().items():
            assert torch.equal(ours.module.state_dict()[name], value), name
    assert ours.steps == 4
    assert not torch.equal(ours.module[0].weight, net[0].weight)


def test_a_network_without_buffers():
    net = nn.Linear(3, 2)
    average = ExponentialMovingAverage(net, momentum=0.5)
    average.update_parameters(net)
    with torch.no_grad():
        net.weight.zero_()
    before = average.module.weight.clone()
    average.update_parameters(net)
    torch.testing.assert_close(average.module.weight, before / 2)


def test_recipes_take_it():
    init_default_scope('openmix')
    hook = HOOKS.build(dict(type='EMAHook', momentum=0.1))
    assert isinstance(hook, EMAHook)
    assert isinstance(hook, MMEMAHook)
    assert type(ROOT.build(dict(hook.ema_cfg), default_args=dict(model=network()))) is ExponentialMovingAverage


class Run:
    """A run of the hook with one weight and no data: every iteration lowers the weight by 1."""

    max_epochs = 4
    epoch = property(lambda self: self.iter // 3)

    def __init__(self, iterations=12, accumulated=1, initial=0.0, **options):
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.planned_iters, self.iter = iterations, 0
        self.optim_wrapper = OptimWrapper(SGD(self.model.parameters(), lr=1.0), accumulative_counts=accumulated)
        self.optim_wrapper.initialize_count_status(self.model, 0, iterations)
        self.hook = EMAHook(**options)
        self.hook.before_run(self)
        nn.init.constant_(self.model.weight, initial)
        self.hook.before_train(self)
        self.values = []
        for self.iter in range(iterations):
            self.hook.before_train_iter(self, self.iter)
            self.optim_wrapper.update_params(self.model(torch.ones(1, 1)).sum())
            self.hook.after_train_iter(self, self.iter)
            self.values.append(self.hook.ema_model.module.weight.item())


def averages(weights, momentum, start=0.0, first=0):
    """Return the average after every step, from `start`: the weight itself before step `first`, then it moves."""
    found = [start]
    for step, weight in enumerate(weights):
        found.append(weight if step < first else found[-1] + momentum * (weight - found[-1]))
    return found[1:]


def test_the_average_starts_from_the_weights_before_the_first_step():
    """Which are drawn or loaded after the hook is built: the first step moves it by its share of the step alone."""
    assert Run(3, momentum=0.25, initial=8.0).values == averages([7, 6, 5], 0.25, start=8.0)
    assert Run(4, accumulated=2, momentum=0.25, initial=8.0).values == [8, 7.75, 7.75, 7.3125]


def test_the_average_moves_with_the_steps_of_the_optimiser():
    """With three iterations to a step, and a last step of one, it is the average over the steps."""
    plain = Run(3, momentum=0.5).values
    assert plain == averages([-1, -2, -3], 0.5)
    accumulated = Run(7, accumulated=3, momentum=0.5).values
    assert accumulated == [0, 0, plain[0], plain[0], plain[0], plain[1], plain[2]]


def test_the_average_begins_at_an_iteration_or_an_epoch():
    """Both counted from 1, whatever the iterations to a step; until then the average is the model."""
    weights = [-1, -2, -3, -4, -5, -6]
    for options in (dict(begin_iter=4), dict(begin_epoch=2)):
        assert Run(6, momentum=0.5, **options).values == averages(weights, 0.5, first=3)
        assert Run(12, accumulated=2, momentum=0.5, **{k: 2 * v - 1 for k, v in options.items()}).values[::2] == [
            0,
            *averages(weights, 0.5, first=3)[:-1],
        ]


def test_a_validation_takes_averaged_weights_and_the_statistics_of_the_model():
    """Also those that have moved since the last step, and none is averaged."""
    net = network()
    run = SimpleNamespace(model=net, val_evaluator=SimpleNamespace(metrics=[]))
    hook = EMAHook(momentum=0.5)
    hook.before_run(run)
    weights = [net[0].weight.detach().clone()]
    for _ in range(3):
        net.load_state_dict(moved(net).state_dict())
        weights.append(net[0].weight.detach().clone())
        hook.ema_model.update_parameters(net)
    net(torch.randn(5, 2, 3, 3))
    live = {name: buffer.clone() for name, buffer in net.named_buffers()}
    hook.before_val_epoch(run)
    torch.testing.assert_close(net[0].weight, sum(w / 2**k for w, k in zip(weights, (3, 3, 2, 1))))
    assert all(torch.equal(buffer, live[name]) for name, buffer in net.named_buffers())
    assert torch.equal(hook.ema_model.module[0].weight, weights[3])


def test_an_interval_counts_steps():
    assert Run(8, accumulated=2, momentum=0.5, interval=2).values[1::2] == [-0.5, -0.5, -1.75, -1.75]


@pytest.mark.parametrize('options', [dict(begin_iter=13), dict(begin_epoch=5)])
def test_an_average_that_never_begins_is_refused(options):
    with pytest.raises(InputError, match='where the run ends'):
        Run(12, **options)


def test_a_step_that_is_left_out_moves_nothing():
    """As float16 does where gradients overflow."""
    run = Run(1, momentum=0.5)
    run.hook.after_train_iter(run, 1)
    assert run.hook.ema_model.steps == 1
