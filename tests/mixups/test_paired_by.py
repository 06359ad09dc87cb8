import math

import pytest
import torch

from openmix.errors import InputError
from openmix.losses import mix_mse
from openmix.mixups import AlignMix, CutMix, GuidedMixup, MixContext, Mixup, NoMix, OneOf, PairedBy, PuzzleMix, Until

CLASSES = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])


def chances(by, y, bandwidth=1.0, self_pairs=False):
    """The probability of every partner of every sample, from the definitions, in loops."""
    n, rows = len(y), []
    for i in range(n):
        weight = []
        for j in range(n):
            if by == 'label_distance':
                d = math.dist(y[i].tolist(), y[j].tolist())
                w = math.exp(-(d**2) / (2 * bandwidth**2))
            elif by == 'class_balance':
                w = 1 / y.tolist().count(int(y[j]))
            else:
                w = float((int(y[i]) == int(y[j])) == (by == 'same_class'))
            weight.append(0.0 if i == j and not self_pairs else w)
        total = sum(weight)
        rows.append([w / total for w in weight] if total else [float(i == j) for j in range(n)])
    return torch.tensor(rows)


@pytest.mark.parametrize('self_pairs', [False, True])
@pytest.mark.parametrize(
    ('by', 'y'),
    [
        ('same_class', CLASSES),
        ('other_class', CLASSES),
        ('class_balance', CLASSES),
        ('label_distance', torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 1.0], [3.0, 0.0], [2.0, 2.0]])),
    ],
)
def test_partners_are_drawn_as_often_as_the_definition_says(by, y, self_pairs):
    n, times = len(y), 4000
    policy, z = PairedBy(Mixup(), by=by, self_pairs=self_pairs), torch.rand(n, 1, 2, 2)
    torch.manual_seed(0)
    found = torch.zeros(n, n)
    for _ in range(times):
        _, mix = policy(z, MixContext(z, y))
        found[torch.arange(n), mix.partner] += 1
    wanted = chances(by, y, self_pairs=self_pairs)
    assert bool((found[wanted == 0] == 0).all())
    assert (found / times - wanted).abs().max() < 4 * math.sqrt(0.25 / times)


def test_a_far_label_still_has_its_nearest_partner():
    """Where all weights of the definition underflow, their ratios still count."""
    y = torch.tensor([[0.0], [100.0], [201.0]])
    z = torch.rand(3, 1, 2, 2)
    torch.manual_seed(0)
    for _ in range(20):
        _, mix = PairedBy(Mixup(), by='label_distance', bandwidth=0.5)(z, MixContext(z, y))
        assert mix.partner.tolist() == [1, 0, 1]


def test_a_long_tail_has_as_many_partners_of_every_class():
    y = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)
    z = torch.rand(100, 1, 2, 2)
    torch.manual_seed(0)
    drawn = torch.cat([PairedBy(Mixup(), by='class_balance')(z, MixContext(z, y))[1].partner for _ in range(100)])
    shares = torch.bincount(y[drawn], minlength=3) / len(drawn)
    assert (shares - 1 / 3).abs().max() < 0.02


def test_the_policy_mixes_as_it_does_with_these_pairs():
    z, policy = torch.rand(8, 3, 8, 8), CutMix(alpha=0.5)
    torch.manual_seed(0)
    mixed, mix = PairedBy(policy, by='other_class')(z, MixContext(z, CLASSES))
    torch.manual_seed(0)
    torch.empty(8, 8).exponential_()
    wanted, own = policy(z, pairs=mix.partner)
    assert torch.equal(mixed, wanted)
    assert torch.equal(mix.weight, own.weight)


def test_c_mixup_trains_a_regression_in_a_loop_of_ones_own():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1))
    policy = PairedBy(Mixup(alpha=2.0), by='label_distance', bandwidth=0.3)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.03), []
    for _ in range(120):
        images = torch.rand(64, 3, 2, 2)
        y = images.mean((1, 2, 3))[:, None]
        mixed, mix = policy(images, MixContext(images, y))
        loss = mix_mse(model(mixed), y, mix)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


def test_sites_shares_and_clean_weight_are_those_of_the_policy():
    paired = PairedBy(Mixup(sites=('', 'layer1')), by='same_class')
    assert paired.all_sites() == {'', 'layer1'}
    assert paired.pick()[0] is paired
    assert PairedBy(PuzzleMix(clean_weight=0.5), by='same_class').clean_weight == 0.5
    z = torch.rand(8, 1, 2, 2)
    _, mix = paired.within(0.9, 1.0)(z, MixContext(z, CLASSES))
    assert mix.lam.min() >= 0.9


def test_a_policy_that_knows_where_it_mixes_is_told_the_site_that_was_drawn():
    """AlignMix interpolates images and aligns features; one that drew again would do either at both."""
    torch.manual_seed(0)
    paired, seen = PairedBy(AlignMix(sites=('', 'layer1'), iterations=2), by='same_class'), set()
    z = torch.rand(8, 3, 4, 4)
    for _ in range(12):
        policy, site = paired.pick()
        mixed, mix = policy(z, MixContext(z, CLASSES))
        assert torch.equal(mixed, mix.blend(z)) == (site == '')
        assert bool((CLASSES[mix.partner] == CLASSES).all())
        seen.add(site)
    assert seen == {'', 'layer1'}
    for way, site in zip(paired.ways(), ('', 'layer1'), strict=True):
        with way:
            assert {paired.pick()[1] for _ in range(4)} == {site}


def test_a_policy_that_chooses_partners_is_refused_where_others_draw_them():
    for policy in (PairedBy(Mixup(), by='same_class'), GuidedMixup(), Until(GuidedMixup(), 3)):
        assert policy.own_pairs
        assert OneOf([NoMix(), policy]).own_pairs
        with pytest.raises(InputError, match="chooses the partners of a batch; take share='batch'"):
            OneOf([policy, CutMix()], share='sample')
    assert not GuidedMixup(pairing='random').own_pairs
    assert not OneOf([Mixup(), CutMix()]).own_pairs


def test_bad_input_is_an_input_error():
    z = torch.rand(4, 3, 4, 4)
    with pytest.raises(InputError, match=r'PairedBy reads the labels of the 4 samples; pass MixContext\(x, y\)'):
        PairedBy(Mixup(), by='same_class')(z)
    with pytest.raises(InputError, match='classes have no distance'):
        PairedBy(Mixup(), by='label_distance')(z, MixContext(z, torch.arange(4)))
    with pytest.raises(InputError, match='policy must be one of pairs with a lam, got NoMix'):
        PairedBy({'type': 'NoMix'}, by='same_class')
    with pytest.raises(InputError, match='leave self_pairs out of its policy'):
        PairedBy(Mixup(self_pairs=False), by='same_class')
    with pytest.raises(InputError, match='PairedBy: by must be'):
        PairedBy(Mixup(), by='class')
    with pytest.raises(InputError, match="PairedBy chooses the partners of a batch; take share='batch'"):
        OneOf([PairedBy(Mixup(), by='same_class'), CutMix()], share='sample')
