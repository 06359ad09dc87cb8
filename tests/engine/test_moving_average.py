"""The moving average of all weights at once is mmengine's of one after the other."""

import copy

import pytest
import torch
from mmengine.hooks import EMAHook as MMEMAHook
from mmengine.model import ExponentialMovingAverage as Stock
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from torch import nn

from openmix.engine.ema_hook import EMAHook, ExponentialMovingAverage
from openmix.registry import HOOKS


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4))


def moved(net):
    """The network somewhere else, its statistics and their count too."""
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
    for _ in range(4):
        net = moved(net)
        ours.update_parameters(net)
        stock.update_parameters(net)
        assert ours.state_dict().keys() == stock.state_dict().keys()
        for name, value in stock.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
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
