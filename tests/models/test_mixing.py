"""Test `mixed_features`, which mixes a batch at a site of the backbone."""

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.mixups import MixContext, Mixup, OneOf, ResizeMix
from openmix.models.mixing import mixed_features
from openmix.models.sites import Sites


def backbone():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize('site', ['', '0', '1'])
def test_the_tensor_at_the_site_is_mixed_with_the_partners_that_are_given(site):
    net, x = backbone(), torch.randn(5, 4)
    partner = torch.tensor([4, 3, 2, 1, 0])
    torch.manual_seed(1)
    mixed = mixed_features(net, Sites(net, {site}), Mixup(sites=(site,)), MixContext(x), partner)
    assert mixed.site == site
    assert torch.equal(mixed.mix.partner, partner)
    at = {'': 0, '0': 1, '1': 2}[site]
    z = net[:at](x)
    lam = mixed.mix.lam[:, None]
    torch.testing.assert_close(mixed.tensor, lam * z + (1 - lam) * z[partner])
    torch.testing.assert_close(mixed.features, net[at:](mixed.tensor))


def test_of_several_policies_the_one_that_mixed_is_told():
    net = backbone()
    policy = OneOf([Mixup(alpha=1.0), Mixup(alpha=2.0)])
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        mixed = mixed_features(net, Sites(net, {''}), policy, MixContext(torch.randn(3, 4)))
        assert any(mixed.policy is child for child in policy.policies)
        seen.add(mixed.policy.alpha)
    assert seen == {1.0, 2.0}


def test_a_policy_holds_its_lam_for_series_of_pictures_and_goes_on_drawing_itself():
    policy, x = Mixup(alpha=1.0), torch.randn(4, 4)
    held = policy.holding(0.25)
    _, mix = held(x)
    assert torch.equal(mix.lam, torch.full((4,), 0.25))
    _, mix = policy(x)
    assert len(mix.lam.unique()) > 1
    with pytest.raises(InputError, match='lam'):
        policy.holding(1.5)
    with pytest.raises(InputError, match='ResizeMix draws the size of its boxes'):
        ResizeMix().holding(0.5)
