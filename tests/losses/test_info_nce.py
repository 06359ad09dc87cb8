"""InfoNCE against loops over single images and keys, in float64."""

from math import exp, log

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.losses import info_nce, mix_ce
from openmix.mix import Mix

N, M, Q, WIDTH = 5, 10, 7, 4


def units(n, seed, dtype=torch.float64):
    z = torch.randn(n, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(z, dim=1).to(dtype)


def pairs():
    return Mix.pairs(torch.tensor([7, 9, 5, 6, 8]), torch.tensor([0.25, 1.0, 0.5, 0.0, 0.875]))


def slow(z, keys, queue, mix, temperature, siblings):
    """Each source has a softmax of its own over its key and the queue; with `siblings` over all other keys too."""

    def dot(a, b):
        return sum(float(x) * float(y) for x, y in zip(a, b)) / temperature

    total = 0.0
    for n, row in enumerate(z):
        for source, weight in zip(mix.source[n].tolist(), mix.weight[n].tolist()):
            others = [key for m, key in enumerate(keys) if siblings and m != source]
            sums = sum(exp(dot(row, key)) for key in (keys[source], *others, *queue))
            total -= weight * log(exp(dot(row, keys[source])) / sums)
    return total / len(z)


@pytest.mark.parametrize('siblings', [False, True])
@pytest.mark.parametrize('mix', [pairs(), Mix.none(N)], ids=['mixed', 'clean'])
@pytest.mark.parametrize('temperature', [0.07, 0.2])
def test_it_is_that_of_single_images(temperature, mix, siblings):
    z, keys, queue = units(N, 1), units(M, 2), units(Q, 3)
    wanted = slow(z, keys, queue, mix, temperature, siblings)
    dots, y = z @ torch.cat([keys, queue]).T, torch.arange(M)
    found = info_nce(dots, y, mix, temperature, 0 if siblings else M)
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    if siblings:
        torch.testing.assert_close(found, mix_ce(dots / temperature, y, mix))
    half = info_nce(dots.bfloat16(), y, mix, temperature, 0 if siblings else M)
    assert half.dtype == torch.float32


def test_a_sibling_positive_is_no_negative():
    """Fault: as a negative it would change the share of the other source."""
    z, keys, queue = units(N, 1), units(M, 2), units(Q, 3)
    only_first = Mix.pairs(pairs().partner, torch.ones(N))
    moved = keys.clone()
    moved[pairs().partner] = units(N, 9)
    values = [
        [info_nce(z @ torch.cat([k, queue]).T, torch.arange(M), only_first, 0.2, first).item() for k in (keys, moved)]
        for first in (M, 0)
    ]
    assert values[0][0] == values[0][1]
    assert values[1][0] != values[1][1]


@pytest.mark.parametrize('first', [0, M])
def test_its_gradient_is_that_of_finite_differences(first):
    keys, queue, mix = units(M, 2), units(Q, 3), pairs()

    def loss(z):
        z = nn.functional.normalize(z, dim=1)
        return info_nce(z @ torch.cat([keys, queue]).T, torch.arange(M), mix, 0.2, first)

    assert torch.autograd.gradcheck(loss, units(N, 1).requires_grad_())


def test_large_dot_products_neither_overflow_nor_vanish():
    dots = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])
    found = info_nce(dots, torch.tensor([0, 0]), Mix.none(2), temperature=0.001, keys=1)
    assert found.item() == pytest.approx((2000 + log(2)) / 2)


@pytest.mark.parametrize(
    ('options', 'said'),
    [(dict(keys=M + Q), 'no negatives'), (dict(temperature=0), 'temperature'), (dict(keys=-1), 'keys')],
)
def test_what_cannot_be_computed_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        info_nce(torch.zeros(N, M + Q), torch.arange(M), pairs(), **options)
    with pytest.raises(InputError, match='probabilities'):
        info_nce(torch.zeros(N, 3), torch.full((M, 3), 1 / 3), pairs())


CLASSES, KEY_CLASSES = torch.tensor([0, 1, 2, 0, 1, 2, -1, 2, 0, 1]), torch.tensor([0, 0, 1, -1, 2, 2, 3])


def slow_with_classes(z, keys, queue, mix, classes, key_classes):
    """The term of a source leaves out the negatives of its class; what has no class is left out nowhere."""
    total = 0.0
    for n, row in enumerate(z):
        for source, weight in zip(mix.source[n].tolist(), mix.weight[n].tolist()):
            own = classes[source]
            kept = [key for key, other in zip(queue, key_classes) if own < 0 or other != own]
            dots = [float(row @ key) / 0.2 for key in (keys[source], *kept)]
            total -= weight * (dots[0] - log(sum(map(exp, dots))))
    return total / len(z)


@pytest.mark.parametrize('mix', [pairs(), Mix.none(N)], ids=['mixed', 'clean'])
def test_negatives_of_the_class_of_a_source_are_left_out(mix):
    z, keys, queue = units(N, 1), units(M, 2), units(Q, 3)
    dots, y = z @ torch.cat([keys, queue]).T, torch.arange(M)
    found = info_nce(dots, y, mix, keys=M, classes=CLASSES, key_classes=KEY_CLASSES)
    wanted = slow_with_classes(z, keys, queue, mix, CLASSES.tolist(), KEY_CLASSES.tolist())
    assert found.item() == pytest.approx(wanted, rel=1e-9)
    # Without a class of any negative it is the plain loss.
    unknown = info_nce(dots, y, mix, keys=M, classes=CLASSES, key_classes=torch.full((Q,), -1))
    torch.testing.assert_close(unknown, info_nce(dots, y, mix, keys=M))


def test_a_term_whose_negatives_are_all_left_out_is_zero():
    """Fault: nan, in the loss or in its gradient."""
    dots = (units(N, 1) @ torch.cat([units(M, 2), units(Q, 3)]).T).requires_grad_()
    zeros = torch.zeros(M, dtype=torch.int64)
    loss = info_nce(dots, torch.arange(M), pairs(), keys=M, classes=zeros, key_classes=zeros[:Q])
    loss.backward()
    assert loss.item() == 0
    assert not dots.grad.any()


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(classes=CLASSES), 'key_classes must be'),
        (dict(classes=CLASSES[:-1], key_classes=KEY_CLASSES), r'classes must be \(10,\)'),
        (dict(classes=CLASSES, key_classes=KEY_CLASSES.float()), 'key_classes must be'),
        (dict(classes=CLASSES, key_classes=torch.zeros(M + Q, dtype=torch.int64), keys=0), 'the first 10 columns'),
    ],
)
def test_wrong_classes(options, line):
    dots = units(N, 1) @ torch.cat([units(M, 2), units(Q, 3)]).T
    with pytest.raises(InputError, match=line):
        info_nce(dots, torch.arange(M), pairs(), **{'keys': M, **options})
