import math

import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from openmix.errors import InputError
from openmix.mixups import ResizeMix


@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize(('height', 'width'), [(32, 32), (14, 14), (12, 40), (40, 12), (1, 9), (9, 1), (1, 1)])
def test_equals_the_algorithm_pair_by_pair(share, interpolation, height, width):
    n = 24
    z = torch.rand(n, 3, height, width)
    torch.manual_seed(0)
    mixed, mix = ResizeMix(share=share, interpolation=interpolation)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    k = 1 if share == 'batch' else n
    tau = (0.1 + (0.8 - 0.1) * torch.rand(k)).expand(n)
    rows, columns = torch.randint(height, (k,)).expand(n), torch.randint(width, (k,)).expand(n)
    for i in range(n):
        half_height, half_width = int(tau[i] * height) // 2, int(tau[i] * width) // 2
        top, bottom = max(int(rows[i]) - half_height, 0), min(int(rows[i]) + half_height, height)
        left, right = max(int(columns[i]) - half_width, 0), min(int(columns[i]) + half_width, width)
        wanted, area = z[i].clone(), (bottom - top) * (right - left)
        if area:
            options = {'align_corners': False} if interpolation == 'bilinear' else {}
            small = F.interpolate(z[partner[i]][None], size=(bottom - top, right - left), mode=interpolation, **options)
            wanted[:, top:bottom, left:right] = small[0]
        torch.testing.assert_close(mixed[i], wanted, rtol=0, atol=0 if interpolation == 'nearest' else 1e-5)
        assert mix.lam[i].item() == pytest.approx(1 - area / (height * width), abs=1e-6)


def test_the_whole_partner_is_seen_in_the_box():
    torch.manual_seed(0)
    quarters = torch.arange(4.0).view(1, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
    z = torch.cat([torch.full_like(quarters, -1), quarters])
    mixed, _ = ResizeMix(scope=(0.5, 0.6))(z, pairs=torch.tensor([1]))
    assert set(mixed.flatten().tolist()) == {-1.0, 0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize('alpha', [0.2, 1, 2])
def test_tau_is_beta_conditioned_to_its_scope(alpha):
    torch.manual_seed(0)
    low, high = 0.1, 0.8
    tau = ResizeMix(alpha=alpha, scope=(low, high)).draw_tau(10_000, torch.device('cpu')).double()
    grid = torch.linspace(low, high, 20_001, dtype=torch.float64)
    density = (grid * (1 - grid)) ** (alpha - 1)
    density /= density.sum()
    mean = (density * grid).sum()
    error = math.sqrt((density * (grid - mean) ** 2).sum() / 10_000)
    assert low <= tau.min()
    assert tau.max() <= high
    assert abs(tau.mean() - mean) < 4 * error + 1e-4


def test_tau_outside_its_scope_is_drawn_again_uniformly():
    """As the released code draws: Beta(0.2, 0.2), and a uniform draw for the 73 % of it outside (0.1, 0.8)."""
    n, low, high, alpha = 40_000, 0.1, 0.8, 0.2
    torch.manual_seed(0)
    tau = ResizeMix(alpha=alpha, redraw='uniform').draw_tau(n, torch.device('cpu')).double()
    assert low <= tau.min()
    assert tau.max() <= high
    law = scipy.stats.beta(alpha, alpha)
    outside = law.cdf(low) + law.sf(high)
    assert outside == pytest.approx(0.729, abs=5e-4)
    for x in (0.15, 0.2, 0.3, 0.45, 0.6, 0.7, 0.75):
        wanted = law.cdf(x) - law.cdf(low) + outside * (x - low) / (high - low)
        found = (tau <= x).double().mean().item()
        assert found == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / n))
    # The whole Beta conditioned to its scope has another law: 0.05 more of it lies below 0.2.
    conditioned = (law.cdf(0.2) - law.cdf(low)) / (1 - outside)
    assert conditioned - (tau <= 0.2).double().mean().item() > 0.04


def test_at_alpha_one_there_is_nothing_to_draw_again():
    drawn = []
    for redraw in ('beta', 'uniform'):
        torch.manual_seed(0)
        drawn.append(ResizeMix(redraw=redraw).draw_tau(50, torch.device('cpu')))
    assert torch.equal(*drawn)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_gradients_reach_the_sample_and_its_partner(interpolation):
    torch.manual_seed(0)
    z = torch.rand(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    pairs = torch.tensor([1])

    def mix(z):
        torch.manual_seed(1)
        return ResizeMix(scope=(0.5, 0.7), interpolation=interpolation)(z, pairs=pairs)[0]

    assert torch.autograd.gradcheck(mix, z)
    assert torch.autograd.grad(mix(z).sum(), z)[0][1].abs().sum() > 0


def test_one_box_a_batch():
    _, mix = ResizeMix(share='batch')(torch.rand(8, 3, 16, 16))
    assert (mix.mask == mix.mask[:1]).all()


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (
            {'interpolation': 'linear'},
            "interpolation must be 'nearest' or 'bilinear', got 'linear'; did you mean 'bilinear'",
        ),
        ({'scope': (0.8, 0.1)}, 'scope must be'),
        ({'redraw': 'gamma'}, "redraw must be 'beta' or 'uniform'"),
    ],
)
def test_bad_settings_are_input_errors(options, line):
    with pytest.raises(InputError, match=f'ResizeMix: {line}'):
        ResizeMix(**options)


def test_not_an_image_is_an_input_error():
    with pytest.raises(InputError, match='ResizeMix needs an'):
        ResizeMix()(torch.rand(4, 10))
