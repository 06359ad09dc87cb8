import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import Mixup
from openmix.ops.beta import draw_lam


def test_equals_the_loop_over_samples():
    z = torch.rand(9, 3, 4, 5, dtype=torch.float64)
    torch.manual_seed(0)
    mixed, mix = Mixup(alpha=0.7)(z)
    torch.manual_seed(0)
    partner, lam = torch.randperm(9), draw_lam(9, 0.7)
    for n in range(9):
        wanted = lam[n].item() * z[n] + (1 - lam[n].item()) * z[partner[n]]
        torch.testing.assert_close(mixed[n], wanted, rtol=0, atol=1e-7)
    assert torch.equal(mix.partner, partner)
    assert torch.equal(mix.lam, lam)
    assert mix.mask is None


@pytest.mark.parametrize('alpha', [0.2, 1, 2])
def test_mean_share_over_many_draws(alpha):
    torch.manual_seed(0)
    _, mix = Mixup(alpha=alpha)(torch.zeros(10_000, 1))
    assert abs(mix.lam.mean().item() - 0.5) < 4 * math.sqrt(1 / (4 * (2 * alpha + 1)) / 10_000)


@pytest.mark.parametrize('shape', [(6, 5), (6, 7, 5), (6, 3, 1, 4), (6, 2, 3, 4, 5)])
def test_mixes_a_hidden_tensor_of_any_rank(shape):
    z = torch.randn(shape)
    mixed, mix = Mixup()(z)
    share = mix.lam.view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(mixed, share * z + (1 - share) * z[mix.partner])


def test_one_share_a_batch():
    _, mix = Mixup(share='batch')(torch.rand(8, 3, 4, 4))
    assert len(set(mix.lam.tolist())) == 1


def test_bounds_and_folding_hold():
    torch.manual_seed(0)
    z = torch.zeros(500, 1)
    assert Mixup(fold=True)(z)[1].lam.min() >= 0.5
    lam = Mixup(lam_range=(0.2, 0.3))(z)[1].lam
    assert lam.min() >= 0.2
    assert lam.max() <= 0.3


def test_sites_are_drawn_equally_often():
    torch.manual_seed(0)
    policy = Mixup(sites=('', 'layer1', 'layer2'))
    picked = [policy.pick() for _ in range(1500)]
    assert all(child is policy for child, _ in picked)
    assert policy.all_sites() == {'', 'layer1', 'layer2'}
    for site in policy.sites:
        count = sum(drawn == site for _, drawn in picked)
        assert abs(count - 500) < 4 * math.sqrt(1500 * (1 / 3) * (2 / 3))


@pytest.mark.parametrize(
    ('options', 'line'), [({'alpha': 0}, 'alpha must be > 0'), ({'share': 'gpu'}, 'share must be')]
)
def test_bad_settings_are_input_errors(options, line):
    with pytest.raises(InputError, match=f'Mixup: {line}'):
        Mixup(**options)
