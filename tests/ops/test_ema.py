import copy

import pytest
import torch
from torch import nn

from openmix.ops.ema import ema_update, frozen_copy
from openmix.ops.schedules import compounded_cosine, cosine


def network():
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(4))


def built(seed):
    torch.manual_seed(seed)
    net = network()
    net(torch.randn(5, 2, 3, 3))
    return net


@pytest.mark.parametrize('momentum', [0.0, 0.7, 0.999, 1.0])
def test_the_average_moves_and_nothing_else(momentum):
    average, followed = built(0), built(1)
    old, new = copy.deepcopy(average.state_dict()), copy.deepcopy(followed.state_dict())
    ema_update(average, followed, momentum)
    for name, value in followed.state_dict().items():
        assert torch.equal(value, new[name])
    parameters = dict(average.named_parameters())
    for name, value in average.state_dict().items():
        if name in parameters:
            wanted = momentum * old[name].double() + (1 - momentum) * new[name].double()
            torch.testing.assert_close(value.double(), wanted, rtol=0, atol=1e-6)
        else:
            assert torch.equal(value, old[name]), f'{name} is a buffer'
    assert momentum < 1 or all(torch.equal(value, old[name]) for name, value in average.state_dict().items())


def test_a_frozen_copy_passes_gradients_on():
    net = built(0)
    twin = frozen_copy(net)
    x = torch.randn(5, 2, 3, 3, requires_grad=True)
    twin(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in net.parameters())


def test_cosine():
    assert cosine(0.999, 1.0, 0.0) == 0.999
    assert cosine(0.999, 1.0, 1.0) == 1.0
    assert cosine(0.999, 1.0, 0.5) == pytest.approx(0.9995)
    assert cosine(0.1, 0.0, 0.25) == pytest.approx(0.1 * 0.8535533906)


@pytest.mark.parametrize('steps', [50, 1000, 100_000])
def test_compounded_cosine_is_the_product(steps):
    product = 1.0
    for step in range(steps):
        product *= cosine(1.0, 0.0, step / steps)
        if product < 0.1:
            break
        assert compounded_cosine(step, steps) == pytest.approx(product, rel=0.01)
    assert compounded_cosine(0, steps) == 1
    assert compounded_cosine(steps, steps) < 1e-6
