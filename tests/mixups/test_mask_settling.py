"""What happens to a predicted mask before it mixes: smoothing, adjusting, plain interpolation; and the squared loss."""

import math

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.mask_settling import smooth_mask
from openmix.mixups.mix_block import adjust_mask, mask_loss
from openmix.network import Network
from openmix.registry import MIXUPS


def masks(n=6, side=8, seed=0):
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_smoothing_is_a_gaussian_with_the_border_repeated():
    mask, sigma = masks(2).double(), 1.3
    radius = int(2.5 * sigma)
    places = range(-radius, radius + 1)
    weights = {(a, b): math.exp(-(a * a + b * b) / (2 * sigma**2)) for a in places for b in places}
    wanted = torch.zeros_like(mask)
    for n in range(2):
        for row in range(8):
            for column in range(8):
                near = {
                    at: mask[n, 0, min(max(row + at[0], 0), 7), min(max(column + at[1], 0), 7)].item() for at in weights
                }
                wanted[n, 0, row, column] = sum(weights[at] * near[at] for at in weights) / sum(weights.values())
    torch.testing.assert_close(smooth_mask(mask, sigma), wanted)
    # A constant mask stays what it is, and a width below half a pixel changes nothing.
    torch.testing.assert_close(smooth_mask(torch.full((1, 1, 8, 8), 0.3), 6.0), torch.full((1, 1, 8, 8), 0.3))
    assert torch.equal(smooth_mask(mask, 0.3), mask)


def test_a_policy_draws_the_width_of_the_smoothing():
    policy, mask, lam = MIXUPS.build(dict(type='AMix', smoothing=(0.5, 6.0))), masks(), torch.full((6,), 0.5)
    torch.manual_seed(0)
    settled = [policy.settling(mask, lam) for _ in range(2)]
    torch.manual_seed(0)
    sigmas = [0.5 + 5.5 * float(torch.rand(())) for _ in range(2)]
    for found, sigma in zip(settled, sigmas):
        torch.testing.assert_close(found, smooth_mask(mask, sigma))
    assert not torch.allclose(*settled)


def test_masks_within_the_margin_are_not_adjusted():
    mask, lam = masks(200, 4), torch.linspace(0, 1, 200)
    policy = MIXUPS.build(dict(type='AMix', adjust_prob=1.0, adjust_margin=0.1))
    settled, near = policy.settling(mask, lam), (mask.mean((1, 2, 3)) - lam).abs() <= 0.1
    assert 0 < near.sum() < 200
    assert torch.equal(settled[near], mask[near])
    torch.testing.assert_close(settled[~near], adjust_mask(mask, lam)[~near])


def test_pairs_of_one_label_may_be_interpolated():
    torch.manual_seed(0)
    policy = MIXUPS.build(dict(type='AMix', same_labels='interpolate'))
    backbone = nn.Sequential()
    backbone.add_module('layer3', nn.Conv2d(3, 6, 4, stride=4))
    policy.attach(Network(backbone, nn.Linear(6, 5)))
    with torch.no_grad():
        policy.mixer.content[3].weight.normal_()
    x, y, pairs = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1]), torch.tensor([2, 0, 0, 2])
    _, mix = policy(x, MixContext(x, y), pairs)
    flat = mix.mask.flatten(1)
    assert torch.equal(flat[0], mix.lam[0].expand(256))
    assert torch.equal(flat[2], mix.lam[2].expand(256))
    assert flat[1].std() > 0
    assert flat[3].std() > 0
    for context in (None, MixContext(x)):
        with pytest.raises(InputError, match='needs labels'):
            policy(x, context, pairs)


def test_the_squared_mask_loss():
    mask, lam = masks(), torch.tensor([0.0, 0.3, 0.45, 0.5, 0.7, 1.0])
    wanted = 0.0
    for one, share in zip(mask, lam.tolist()):
        mean = one.mean().item()
        variance = sum((value - mean) ** 2 for value in one.flatten().tolist()) / one.numel()
        wanted += max((share - mean) ** 2 - 0.1**2, 0) - 2 * variance
    assert mask_loss(mask, lam, 0.1, 1.0, 2.0, 'squared').item() == pytest.approx(wanted / 6, rel=1e-4)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(smoothing=(6.0, 0.5)), 'smoothing'),
        (dict(adjust_margin=2.0), 'adjust_margin'),
        (dict(same_labels='other'), 'same_labels'),
        (dict(mask_form='L2'), 'mask_form'),
    ],
)
def test_options_that_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        MIXUPS.build(dict(type='AMix', **options))
