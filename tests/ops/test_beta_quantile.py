import pytest
import torch
from scipy.stats import beta

from openmix.ops.beta_quantile import beta_quantile

P = torch.tensor([0.0, 6e-8, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.51, 0.8, 0.99, 1 - 1e-6, 1.0])


@pytest.mark.parametrize('a', [1e-3, 0.01, 0.1, 0.5, 1.0, 2.0, 7.5, 50.0, 300.0, 1000.0])
def test_equals_scipys(a):
    found = beta_quantile(P, torch.full_like(P, a))
    wanted = torch.from_numpy(beta.ppf(P.double().numpy(), a, a))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)


def test_every_element_has_its_own_concentration():
    a = torch.logspace(-2, 2, len(P))
    found = beta_quantile(P, a)
    wanted = [beta.ppf(p, c, c) for p, c in zip(P.double().tolist(), a.double().tolist())]
    torch.testing.assert_close(found.double(), torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-6)


def test_beyond_its_range_it_stays_at_the_bounds():
    p = torch.tensor([0.2, 0.2])
    found = beta_quantile(p, torch.tensor([1e-9, 1e9]))
    torch.testing.assert_close(found, beta_quantile(p, torch.tensor([1e-3, 1e3])))
    assert found[0] == 0
    assert abs(found[1] - 0.5) < 0.04
