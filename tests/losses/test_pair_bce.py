"""BCE between the two classes or keys of a pair, against loops over single images, in float64."""

from math import exp, log

import pytest
import torch

from openmix.errors import InputError
from openmix.losses import mix_ce, pair_bce
from openmix.mix import Mix

N, C = 6, 4
Y = torch.tensor([0, 1, 2, 3, 1, 1])
PAIRS = Mix.pairs(torch.tensor([1, 2, 3, 0, 5, 4]), torch.tensor([0.25, 1.0, 0.5, 0.0, 0.875, 0.3]))


def logits(seed=0):
    return torch.randn(N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow(z, temperature):
    """Cross-entropy of a softmax over the two classes alone; the last two pairs are of one class."""
    total = 0.0
    for n in range(N):
        i, j, lam = int(Y[n]), int(Y[PAIRS.partner[n]]), float(PAIRS.lam[n])
        if i == j:
            continue
        one, other = exp(z[n, i] / temperature), exp(z[n, j] / temperature)
        total -= lam * log(one / (one + other)) + (1 - lam) * log(other / (one + other))
    return total / N


@pytest.mark.parametrize('temperature', [1.0, 0.2])
def test_it_is_that_of_single_images(temperature):
    z = logits()
    assert pair_bce(z, Y, PAIRS, temperature).item() == pytest.approx(slow(z, temperature), rel=1e-9)
    assert pair_bce(z.bfloat16(), Y, PAIRS, temperature).dtype == torch.float32


def test_it_asks_for_the_right_answer():
    """Fault: the printed formula without a logarithm is least for the wrong one."""
    only_first = Mix.pairs(PAIRS.partner, torch.ones(N))
    right = torch.nn.functional.one_hot(Y, C).double() * 3
    assert pair_bce(right, Y, only_first) < pair_bce(torch.zeros(N, C).double(), Y, only_first)
    assert pair_bce(-right, Y, only_first) > pair_bce(torch.zeros(N, C).double(), Y, only_first)


def test_a_pair_of_one_class_has_no_gradient_and_counts():
    z = logits().requires_grad_()
    pair_bce(z, Y, PAIRS).backward()
    assert not z.grad[4:].any()
    assert z.grad[:4].any(1).all()


def test_gradients_and_those_of_other_classes():
    z = logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: pair_bce(z, Y, PAIRS, 0.2), z)
    pair_bce(z, Y, PAIRS).backward()
    # It is local: of the classes of neither image the logits get none.
    assert all(z.grad[n, c] == 0 for n in range(N) for c in range(C) if c not in (Y[n], Y[PAIRS.partner[n]]))


def test_of_two_classes_it_is_the_cross_entropy():
    z, y, mix = logits()[:4, :2], Y[:4] % 2, Mix.pairs(torch.tensor([1, 0, 3, 2]), PAIRS.lam[:4])
    torch.testing.assert_close(pair_bce(z, y, mix), mix_ce(z, y, mix))


def test_large_gaps_stay_finite():
    z = (1e4 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).requires_grad_()
    loss = pair_bce(z, torch.tensor([0, 1]), Mix.pairs(torch.tensor([1, 0]), torch.tensor([0.5, 0.5])), 0.2)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda: pair_bce(logits(), Y, Mix.none(N)), 'pairs with one class each, got 1 sources'),
        (lambda: pair_bce(logits(), torch.ones(N, C).double(), PAIRS), 'class probabilities'),
        (lambda: pair_bce(logits(), Y, PAIRS, 0.0), 'temperature must be'),
        (lambda: pair_bce(logits(), Y, PAIRS, rows=torch.ones(2)), 'rows must be'),
    ],
)
def test_wrong_arguments(call, line):
    with pytest.raises(InputError, match=line):
        call()
