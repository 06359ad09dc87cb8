import math

import pytest
import torch

from openmix.errors import InputError
from openmix.ops.beta import draw_lam, draw_shares

N = 10_000


def within_four_standard_errors(lam: torch.Tensor, mean: float, variance: float) -> bool:
    return abs(lam.double().mean().item() - mean) < 4 * math.sqrt(variance / len(lam))


@pytest.mark.parametrize('alpha', [0.001, 0.01, 0.05, 0.2, 1, 2])
def test_mean_and_variance(alpha):
    torch.manual_seed(0)
    lam = draw_lam(N, alpha)
    variance = 1 / (4 * (2 * alpha + 1))
    kurtosis = 3 - 6 / (2 * alpha + 3)
    assert lam.shape == (N,)
    assert lam.dtype == torch.float32
    assert within_four_standard_errors(lam, 0.5, variance)
    assert abs(lam.double().var().item() - variance) < 4 * variance * math.sqrt((kurtosis - 1) / N)


@pytest.mark.parametrize('alpha', [0.001, 0.05, 50.0])
def test_extreme_alphas_stay_finite_and_in_range(alpha):
    torch.manual_seed(0)
    lam = draw_lam(N, alpha)
    assert lam.isfinite().all()
    assert lam.min() >= 0
    assert lam.max() <= 1
    assert within_four_standard_errors(lam, 0.5, 1 / (4 * (2 * alpha + 1)))


@pytest.mark.parametrize('alpha', [0.01, 1])
def test_shares_of_three(alpha):
    torch.manual_seed(0)
    shares = draw_shares((N, 3), alpha)
    torch.testing.assert_close(shares.sum(1), torch.ones(N))
    variance = (3 - 1) / (9 * (3 * alpha + 1))
    for share in shares.T:
        assert within_four_standard_errors(share, 1 / 3, variance)
        assert share.double().var().item() == pytest.approx(variance, rel=0.05)


def test_fold_keeps_the_larger_share():
    torch.manual_seed(0)
    lam = draw_lam(N, 1, fold=True)
    assert lam.min() >= 0.5
    assert within_four_standard_errors(lam, 0.75, 1 / 48)


def test_a_range_conditions_the_draw():
    torch.manual_seed(0)
    low, high = 0.1, 0.4
    lam = draw_lam(N, 1, lam_range=(low, high))
    assert low <= lam.min()
    assert lam.max() <= high
    assert within_four_standard_errors(lam, 0.25, (high - low) ** 2 / 12)
    # Beta(2, 2) below 1/2: density 12 x (1 - x), so E = 12 (1/24 - 1/64) = 5/16 and E[x^2] = 12 (1/64 - 1/160) = 9/80.
    half = draw_lam(N, 2, lam_range=(0.0, 0.5))
    assert within_four_standard_errors(half, 5 / 16, 9 / 80 - (5 / 16) ** 2)


def test_a_range_holds_for_the_folded_draw():
    torch.manual_seed(0)
    lam = draw_lam(N, 1, lam_range=(0.6, 0.9), fold=True)
    assert lam.min() >= 0.6
    assert lam.max() <= 0.9
    assert within_four_standard_errors(lam, 0.75, 0.3**2 / 12)


@pytest.mark.parametrize('bad', [(0.5, 0.5), (0.7, 0.2), (-0.1, 1), (0, 1.1)])
def test_a_bad_range_is_an_input_error(bad):
    with pytest.raises(InputError, match='lam_range'):
        draw_lam(4, 1, lam_range=bad)
