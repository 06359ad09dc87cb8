import math

import pytest
import torch
from scipy.stats import beta

from openmix.errors import InputError
from openmix.mixups import MixContext, SKMixup
from openmix.network import Network
from openmix.ops.beta import draw_lam


def network():
    torch.manual_seed(3)
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5), torch.nn.BatchNorm1d(5))
    return Network(backbone, torch.nn.Linear(5, 2))


def warped_by_hand(lam, seen, partner, tau_max, tau_std):
    """Warp the drawn lam of every pair, in float64, with SciPy's quantiles."""
    pairs = list(zip(seen.double(), seen.double()[partner]))
    distances = [sum((a - b) ** 2 for a, b in zip(u.flatten().tolist(), v.flatten().tolist())) for u, v in pairs]
    mean = sum(distances) / len(distances)
    taus = [tau_max * math.exp(-(d / mean - 1) / (2 * tau_std**2)) for d in distances]
    return [beta.ppf(ell, tau, tau) for ell, tau in zip(lam, taus)]


@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize(('tau_max', 'tau_std'), [(1.0, 0.5), (2.0, 1.0), (0.5, 0.4)])
@pytest.mark.parametrize('distance', ['embedding', 'input'])
def test_equals_the_warping_pair_by_pair(share, tau_max, tau_std, distance):
    n, net = 9, network()
    z = torch.rand(n, 3, 4, 4)
    policy = SKMixup(share=share, tau_max=tau_max, tau_std=tau_std, distance=distance)
    torch.manual_seed(0)
    mixed, mix = policy(z, MixContext(z, network=net))
    torch.manual_seed(0)
    partner = torch.randperm(n)
    lam = draw_lam(1 if share == 'batch' else n, 1.0).double().expand(n).tolist()
    seen = net.eval().backbone(z).detach() if distance == 'embedding' else z
    wanted = torch.tensor(warped_by_hand(lam, seen, partner, tau_max, tau_std), dtype=torch.float64)
    torch.testing.assert_close(mix.lam.double(), wanted, rtol=0, atol=1e-4)
    share_of = mix.lam.double().view(n, 1, 1, 1)
    torch.testing.assert_close(
        mixed.double(), share_of * z.double() + (1 - share_of) * z[partner].double(), rtol=0, atol=1e-6
    )


def test_near_pairs_are_mixed_more_than_far_ones():
    near = torch.zeros(400, 1, 2, 2)
    z = torch.cat([near, near + 0.1, near + 1, near + 3])
    pairs = torch.cat([torch.arange(400, 800), torch.arange(400), torch.arange(1200, 1600), torch.arange(800, 1200)])
    torch.manual_seed(0)
    _, mix = SKMixup(distance='input')(z, pairs=pairs)
    off = (mix.lam - 0.5).abs()
    assert off[:800].mean() < 0.15
    assert off[800:].mean() > 0.4


def test_equal_images_are_mixed_as_at_the_average_distance():
    z = torch.ones(6, 3, 4, 4)
    torch.manual_seed(0)
    _, mix = SKMixup(distance='input')(z)
    torch.manual_seed(0)
    torch.randperm(6)
    torch.testing.assert_close(mix.lam, draw_lam(6, 1.0))


def test_the_network_stays_as_it_is():
    net, z = network().train(), torch.rand(6, 3, 4, 4)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    SKMixup()(z, MixContext(z, network=net))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_at_a_hidden_site_the_images_embeddings_count():
    net, x, z = network(), torch.rand(6, 3, 4, 4), torch.rand(6, 7, 2, 2)
    torch.manual_seed(0)
    _, hidden = SKMixup(sites=('layer1',))(z, MixContext(x, network=net))
    torch.manual_seed(0)
    _, at_input = SKMixup()(x, MixContext(x, network=net))
    assert torch.equal(hidden.lam, at_input.lam)


def test_a_lam_that_is_held_for_a_figure_is_not_warped():
    z = torch.rand(6, 3, 4, 4)
    mixed, mix = SKMixup().holding(0.3)(z)
    torch.testing.assert_close(mix.lam, torch.full((6,), 0.3))
    torch.testing.assert_close(mixed, 0.3 * z + 0.7 * z[mix.partner])


def test_what_is_missing_is_said():
    z = torch.rand(4, 3, 4, 4)
    with pytest.raises(InputError, match='SKMixup measures the distance of embeddings; pass MixContext'):
        SKMixup()(z)
    with pytest.raises(InputError, match='embeddings need the network'):
        SKMixup()(z, MixContext(z))
    with pytest.raises(InputError, match=r'SKMixup: tau_std must be > 0, got 0\.0'):
        SKMixup(tau_std=0.0)
