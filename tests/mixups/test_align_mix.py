"""Compare AlignMix with loops over positions in float64, and its plan with the optimal assignment."""

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from openmix.errors import InputError
from openmix.mixups import AlignMix
from openmix.mixups.align_mix import aligned
from openmix.models.classifier import MixClassifier
from openmix.ops.beta import draw_lam
from openmix.ops.sinkhorn import transport_plan


def plan_of(a, b, epsilon, iterations):
    """Sinkhorn's scaling of exp(-cost / epsilon) for one pair (C, P), row by row and column by column."""
    p = a.shape[1]
    kernel = [[math.exp(-float((a[:, i] - b[:, j]).square().sum()) / epsilon) for j in range(p)] for i in range(p)]
    for _ in range(iterations):
        kernel = [[value / sum(row) for value in row] for row in kernel]
        sums = [sum(kernel[i][j] for i in range(p)) for j in range(p)]
        kernel = [[kernel[i][j] / sums[j] for j in range(p)] for i in range(p)]
    return kernel


@pytest.mark.parametrize('share', ['sample', 'batch'])
def test_equals_the_equations_position_by_position(share):
    n, p = 8, 6
    torch.manual_seed(1)
    z = torch.randn(n, 4, 2, 3, dtype=torch.float64)
    torch.manual_seed(0)
    mixed, mix = AlignMix(share=share, sites=('layer4',), epsilon=2.0, iterations=30)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    count = 1 if share == 'batch' else n
    lam, stays = draw_lam(count, 2.0), torch.rand(count) < 0.5
    assert torch.equal(mix.lam, lam.expand(n))
    assert share == 'batch' or bool(stays.any() and not stays.all())
    flat = z.flatten(2)
    for i in range(n):
        a, b, share_of_own = flat[i], flat[partner[i]], float(lam[i % count])
        plan = plan_of(a, b, 2.0, 30)
        for at in range(p):
            own, other = a[:, at], b[:, at]
            if stays[i % count]:
                total = sum(plan[at])
                other = sum(plan[at][j] / total * b[:, j] for j in range(p))
            else:
                total = sum(plan[j][at] for j in range(p))
                own = sum(plan[j][at] / total * a[:, j] for j in range(p))
            wanted = share_of_own * own + (1 - share_of_own) * other
            torch.testing.assert_close(mixed[i].flatten(1)[:, at], wanted, rtol=0, atol=1e-5)


def test_a_plan_of_little_entropy_is_the_optimal_assignment():
    torch.manual_seed(0)
    cost = torch.rand(5, 6, 6)
    plan = transport_plan(cost, 0.005, 500)
    for one, found in zip(cost, plan):
        _, column = linear_sum_assignment(one.numpy())
        assert found.argmax(1).tolist() == column.tolist()
    torch.testing.assert_close(plan.sum(1), torch.ones(5, 6))


def test_a_rearranged_image_is_aligned_back():
    """Features that are only elsewhere in the partner are moved onto the sample's, whatever lam."""
    torch.manual_seed(0)
    own, order = torch.randn(3, 16, 9) * 3, torch.randperm(9)
    moved_own, moved_other = aligned(own, own[:, :, order], 0.1, 50)
    torch.testing.assert_close(moved_other, own, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved_own, own[:, :, order], rtol=0, atol=1e-4)


def test_images_are_interpolated_and_features_aligned_with_a_gradient():
    torch.manual_seed(0)
    backbone, head = dict(type='ThinResNet', depth=8, width=4), dict(type='LinearHead', num_classes=5)
    model = MixClassifier(backbone, head, dict(type='AlignMix', sites=('', 'layer3')))
    x, y = torch.randn(4, 3, 16, 16), torch.arange(4)
    seen = set()
    for way in model.ways():
        with way:
            mixed = model.mixed(model.context(x, y))
            seen.add(mixed.site)
            if mixed.site == '':
                torch.testing.assert_close(mixed.tensor, mixed.mix.blend(x))
            else:
                mixed.tensor.sum().backward()
                assert model.backbone.layer1[0].conv1.weight.grad.abs().sum() > 0
    assert seen == {'', 'layer3'}


def test_bad_input_is_an_input_error():
    with pytest.raises(InputError, match='AlignMix needs an'):
        AlignMix(sites=('layer4',))(torch.rand(4, 5))
    with pytest.raises(InputError, match='epsilon must be > 0'):
        AlignMix(epsilon=0.0)
    with pytest.raises(InputError, match='iterations must be >= 1'):
        AlignMix(iterations=0)
