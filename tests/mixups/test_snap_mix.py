"""Compare SnapMix with a loop over pairs and pixels in float64, written from its equations."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.losses import decoupled_ce, mix_bce, mix_ce
from openmix.mix import Mix
from openmix.mixups import MixContext, OneOf, SnapMix
from openmix.mixups.snap_mix import semantic_shares
from openmix.models.heads import LinearHead
from openmix.network import Network
from openmix.ops.beta import draw_lam


def network(channels=6, classes=5, dtype=torch.float64):
    torch.manual_seed(3)
    stem = nn.Sequential(nn.Conv2d(3, channels, 4, stride=4), nn.BatchNorm2d(channels), nn.ReLU())
    backbone = nn.Sequential(OrderedDict(layer4=stem, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))
    return Network(backbone, LinearHead(channels, classes, init_std=1.0)).to(dtype)


def class_map(model, image, label):
    """Sum the last feature maps, weighted as the logit of the label weighs them: (h, w)."""
    features = model.backbone.layer4.eval()(image[None])[0]
    model.train()
    found = torch.zeros(features.shape[1:], dtype=torch.float64)
    for channel, weight in enumerate(model.head.fc.weight[label]):
        found += weight * features[channel]
    return found.detach()


def at_pixel(low_map, i, j, height, width):
    """Sample a map of another size at the centre of pixel (i, j), bilinear."""
    value = 0.0
    y = min(max((i + 0.5) * low_map.shape[0] / height - 0.5, 0), low_map.shape[0] - 1)
    x = min(max((j + 0.5) * low_map.shape[1] / width - 0.5, 0), low_map.shape[1] - 1)
    for r in {math.floor(y), math.ceil(y)}:
        for c in {math.floor(x), math.ceil(x)}:
            value += (1 - abs(y - r)) * (1 - abs(x - c)) * float(low_map[r, c])
    return value


def percent_map(low_map, height, width):
    full = torch.tensor([[at_pixel(low_map, i, j, height, width) for j in range(width)] for i in range(height)])
    full = full.double() - full.min()
    return full / full.sum()


def box_of(lam, centre, height, width):
    tall, wide = int(height * math.sqrt(1 - lam)) // 2, int(width * math.sqrt(1 - lam)) // 2
    row, column = (int(at) for at in centre)
    return max(row - tall, 0), min(row + tall, height), max(column - wide, 0), min(column + wide, width)


def draw_boxes(n, share, height, width):
    count = 1 if share == 'batch' else n
    lam = draw_lam(count, 5.0)
    rows = torch.randint(height, (count,))
    centres = torch.stack([rows, torch.randint(width, (count,))], 1)
    return [box_of(float(lam[i % count]), centres[i % count], height, width) for i in range(n)]


@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 20)])
def test_equals_the_equations_pair_by_pair(share, height, width):
    n, model = 9, network()
    torch.manual_seed(1)
    z, y = torch.randn(n, 3, height, width, dtype=torch.float64), torch.randint(5, (n,))
    policy = SnapMix(share=share)
    policy.attach(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    torch.manual_seed(0)
    mixed, mix = policy(z, MixContext(z, y, network=model))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.manual_seed(0)
    partner = torch.randperm(n)
    own, other = draw_boxes(n, share, height, width), draw_boxes(n, share, height, width)
    shares = [percent_map(class_map(model, z[i], int(y[i])), height, width) for i in range(n)]
    pasted = 0
    for i in range(n):
        top, bottom, left, right = own[i]
        first, last, start, stop = other[i]
        wanted, weights = z[i].clone(), [1.0, 0.0]
        if bottom > top and right > left and last > first and stop > start:
            pasted += 1
            crop = z[partner[i]][:, first:last, start:stop]
            size = bottom - top, right - left
            for channel in range(3):
                for r in range(size[0]):
                    for c in range(size[1]):
                        wanted[channel, top + r, left + c] = at_pixel(crop[channel], r, c, *size)
            weights[0] = 1 - float(shares[i][top:bottom, left:right].sum())
            weights[1] = float(shares[partner[i]][first:last, start:stop].sum())
        torch.testing.assert_close(mixed[i], wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(mix.weight[i].tolist(), weights, rtol=0, atol=1e-5)
        assert mix.mask[i, 0].sum() == height * width - (bottom - top) * (right - left) * (weights != [1.0, 0.0])
    assert pasted >= n - 2
    assert (mix.weight.sum(1) - 1).abs().max() > 0.05
    assert torch.equal(mix.partner, partner)


def test_a_map_without_differences_has_equal_shares():
    maps = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 7.0), torch.full((2, 2), float('nan'))])
    torch.testing.assert_close(semantic_shares(maps, 4, 6), torch.full((3, 4, 6), 1 / 24))


def test_class_probabilities_count_by_their_largest():
    model, z, y = network(dtype=torch.float32), torch.rand(6, 3, 16, 16), torch.arange(6) % 5
    policy, found = SnapMix(), []
    policy.attach(model)
    for labels in (y, 0.9 * nn.functional.one_hot(y, 5) + 0.02):
        torch.manual_seed(0)
        found.append(policy(z, MixContext(z, labels, network=model))[1].weight)
    assert torch.equal(*found)


def test_an_empty_box_pastes_nothing():
    model, z = network(dtype=torch.float32), torch.rand(6, 3, 16, 16)
    policy = SnapMix().holding(1.0)
    policy.attach(model)
    mixed, mix = policy(z, MixContext(z, torch.arange(6) % 5, network=model))
    assert torch.equal(mixed, z)
    assert mix.weight.tolist() == [[1.0, 0.0]] * 6


def test_losses_take_weights_that_do_not_sum_to_one():
    """A pair of one class has the sum of both weights, as target of binary cross-entropy at most 1."""
    torch.manual_seed(0)
    logits, y = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 2, 2])
    mix = Mix(torch.tensor([[0, 1], [1, 2], [2, 0]]), torch.tensor([[0.75, 0.5], [0.5, 0.875], [0.25, 0.125]]))
    log_p = logits.log_softmax(1)
    wanted = -(0.75 * log_p[0, 0] + 0.5 * log_p[0, 2] + 1.375 * log_p[1, 2] + 0.25 * log_p[2, 2] + 0.125 * log_p[2, 0])
    torch.testing.assert_close(mix_ce(logits, y, mix), wanted / 3)
    targets = torch.tensor([[0.75, 0, 0.5, 0], [0, 0, 1, 0], [0.125, 0, 0.25, 0]], dtype=torch.float64)
    bce = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction='none').sum(1).mean()
    torch.testing.assert_close(mix_bce(logits, y, mix), bce)
    assert decoupled_ce(logits, y, mix) > mix_ce(logits, y, mix)


def test_one_of_keeps_both_weights_of_a_sample():
    model, z, y = network(dtype=torch.float32), torch.rand(64, 3, 16, 16), torch.arange(64) % 5
    policy = OneOf([SnapMix(), dict(type='CutMix'), dict(type='NoMix')], share='sample')
    policy.attach(model)
    torch.manual_seed(0)
    _, mix = policy(z, MixContext(z, y, network=model))
    torch.manual_seed(0)
    pairs = torch.randperm(64)
    torch.rand(64)
    _, alone = policy.policies[0](z, MixContext(z, y, network=model), pairs)
    taken = (mix.weight == alone.weight).all(1)
    sums = mix.weight.sum(1)
    assert 8 < int((taken & (alone.weight.sum(1) != 1)).sum()) < 40
    torch.testing.assert_close(sums[~taken], torch.ones(int((~taken).sum())))


def test_bad_input_is_an_input_error():
    z, y, model = torch.rand(4, 3, 16, 16), torch.arange(4), network(dtype=torch.float32)
    with pytest.raises(InputError, match='SnapMix needs a network'):
        SnapMix()(z, MixContext(z, y, network=model))
    with pytest.raises(InputError, match="no site 'layer9'"):
        SnapMix(site='layer9').attach(model)
    with pytest.raises(InputError, match='site must be the name of a module'):
        SnapMix(site=4)
    policy = SnapMix()
    policy.attach(model)
    with pytest.raises(InputError, match='class activation needs the network and the labels'):
        policy(z, MixContext(z, network=model))
    with pytest.raises(InputError, match='class activation needs the network and the labels'):
        policy(z, MixContext(z, y, network=nn.Flatten()))
    wide = Network(model.backbone, LinearHead(7, 5))
    with pytest.raises(InputError, match="site 'layer4' has 6 channels, which the head does not take"):
        policy(z, MixContext(z, y, network=wide))
