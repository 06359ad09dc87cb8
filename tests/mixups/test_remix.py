"""Remix: label shares by the cases of its equation 10, pair by pair."""

import pytest
import torch

from openmix.data.digits import Digits
from openmix.errors import InputError
from openmix.memory import training_keys
from openmix.mixups import CutMix, MixContext, Mixup, OneOf, Remix, Until
from openmix.mixups.remix import rebalanced
from openmix.network import Network

COUNTS = [900, 300, 299, 100, 30, 30, 1]


def by_cases(lam, n_i, n_j, kappa, tau):
    """Equation 10 of the paper for one pair."""
    if n_i != n_j and n_i / n_j >= kappa and lam < tau:
        return 0.0
    if n_i != n_j and n_i / n_j <= 1 / kappa and 1 - lam < tau:
        return 1.0
    return lam


@pytest.mark.parametrize(('kappa', 'tau'), [(3.0, 0.5), (1.0, 0.5), (3.0, 1.0), (10.0, 0.2), (3.0, 0.0)])
def test_every_pair_of_classes_is_as_the_equation_says(kappa, tau):
    for lam in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0):
        for n_i in COUNTS:
            for n_j in COUNTS:
                found = rebalanced(torch.tensor([[lam, 1 - lam]]), torch.tensor([[n_i, n_j]]), kappa, tau)
                wanted = by_cases(lam, n_i, n_j, kappa, tau)
                torch.testing.assert_close(found, torch.tensor([[wanted, 1 - wanted]]))


@pytest.mark.parametrize('policy', [Mixup(alpha=1.0), CutMix(), Mixup(alpha=0.5, share='batch')])
def test_images_are_those_of_the_policy_and_labels_rebalanced(policy):
    images, y = torch.rand(64, 3, 8, 8), torch.randint(len(COUNTS), (64,))
    torch.manual_seed(0)
    wanted, plain = policy(images)
    torch.manual_seed(0)
    mixed, mix = Remix(policy, class_counts=COUNTS)(images, MixContext(images, y))
    assert torch.equal(mixed, wanted)
    assert torch.equal(mix.source, plain.source)
    torch.testing.assert_close(mix.blend(images), mixed)
    shares = [
        by_cases(lam, COUNTS[y[i]], COUNTS[y[j]], 3, 0.5) for lam, (i, j) in zip(plain.lam.tolist(), plain.source)
    ]
    torch.testing.assert_close(mix.lam, torch.tensor(shares))
    assert (mix.lam != plain.lam).any()
    torch.testing.assert_close(mix.weight.sum(1), torch.ones(64))


def test_a_policy_inside_others_is_told_the_counts():
    inner = [Remix(Mixup()), Remix(CutMix())]
    Until(OneOf(inner), 3).read_counts(torch.tensor([5, 1]))
    assert [policy.class_counts.tolist() for policy in inner] == [[5, 1], [5, 1]]
    given = Remix(Mixup(), class_counts=[7, 2])
    given.read_counts(torch.tensor([5, 1]))
    assert given.class_counts.tolist() == [7, 2]


class Head(torch.nn.Linear):
    num_classes = 4


def test_counts_are_saved_with_a_checkpoint():
    network = Network(torch.nn.Identity(), Head(3, 4))
    trained, resumed = Remix(Mixup()), Remix(Mixup())
    for policy in (trained, resumed):
        policy.attach(network)
    trained.read_counts(torch.tensor([9, 3, 1]))  # the head has one class more than the data
    trained.before_epoch(0)
    resumed.load_state_dict(trained.state_dict())
    assert resumed.class_counts.tolist() == [9, 3, 1, 0]
    resumed.before_epoch(1)


def test_counts_are_of_training_alone():
    policy = Remix(Mixup())
    policy.attach(Network(torch.nn.Identity(), Head(3, 4)))
    assert training_keys(policy) == {'class_counts'}


def test_a_training_without_counts_is_refused():
    network = Network(torch.nn.Identity(), Head(3, 4))
    policy = Remix(Mixup())
    policy.attach(network)
    with pytest.raises(InputError, match='does not count the images of every class'):
        policy.before_epoch(0)
    with pytest.raises(InputError, match='has 2 numbers, the head 4 classes'):
        Remix(Mixup(), class_counts=[2, 1]).attach(network)
    unknown = Network(torch.nn.Identity(), torch.nn.Linear(3, 4))
    with pytest.raises(InputError, match='Linear has no num_classes, which are counted; give class_counts'):
        Remix(Mixup()).attach(unknown)
    Remix(Mixup(), class_counts=[2, 1, 1, 1]).attach(unknown)


IMAGES = torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda: Remix(Mixup())(IMAGES, MixContext(IMAGES, torch.arange(4))), r'give class_counts=\[...\]'),
        (lambda: Remix(Mixup(), class_counts=[1, 2])(IMAGES), 'reads the labels of the 4 samples'),
        (
            lambda: Remix(Mixup(), class_counts=[1, 2])(IMAGES, MixContext(IMAGES, torch.rand(4, 2))),
            'for labels that are classes',
        ),
        (lambda: Remix(OneOf([Mixup()])), 'one of pairs with a lam, got OneOf'),
        (lambda: Remix(Mixup(), kappa=0.5), 'kappa'),
        (lambda: Remix(Mixup(), tau=1.5), 'tau'),
        (lambda: Remix(Mixup(), class_counts=[3, -1]), 'class_counts'),
    ],
)
def test_what_cannot_be_rebalanced_is_one_line(call, line):
    with pytest.raises(InputError, match=line):
        call()


def test_the_long_tailed_part_of_a_data_set_is_exponential():
    counts = Digits(subset={'imbalance': 20}).images_a_class()
    whole = Digits().images_a_class()
    most = int(whole.max())
    assert counts.tolist() == [min(int(whole[c]), max(1, int(most * 20 ** (-c / 9) + 1e-6))) for c in range(10)]
    smaller = set(Digits(subset={'imbalance': 50}).rows.tolist())
    assert smaller < set(Digits(subset={'imbalance': 20}).rows.tolist())
    assert len(Digits(subset={'imbalance': 1})) == len(Digits())


@pytest.mark.parametrize(
    ('subset', 'line'),
    [
        ({'imbalance': 0.5}, 'imbalance must be'),
        ({'imbalanced': 3}, r'is dict\(imbalance=100\)'),
        ({}, r'is dict\(imbalance=100\)'),
        ({'imbalance': 3, 'number': 4}, r'is dict\(imbalance=100\)'),
    ],
)
def test_a_part_that_is_no_long_tail_is_one_line(subset, line):
    with pytest.raises(InputError, match=line):
        Digits(subset=subset)
