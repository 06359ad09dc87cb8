"""Logistic regression on features: its optimum by the gradient, and what the metric counts."""

import pytest
import torch
from torch.nn.functional import one_hot, softmax

from openmix.errors import InputError
from openmix.evaluation.logistic import LogisticAccuracy, fit_logistic


def problem(n=60, classes=3, seed=0):
    draws = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    centres = torch.randn(classes, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return centres[y] + torch.randn(n, 5, generator=draws, dtype=torch.float64), y


@pytest.mark.parametrize('weight_decay', [0.01, 1.0])
def test_the_gradient_is_zero_at_the_fit(weight_decay):
    """Written out: the mean of (p - y) x, and the decay of the weights but not of the bias."""
    x, y = problem()
    fitted = fit_logistic(x, y, 3, weight_decay, 500)
    miss = softmax(x @ fitted[:-1] + fitted[-1], 1) - one_hot(y, 3)
    torch.testing.assert_close(
        x.T @ miss / len(x) + weight_decay * fitted[:-1], torch.zeros(5, 3).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(miss.mean(0), torch.zeros(3).double(), atol=1e-5, rtol=0)


def answer(x, y):
    return dict(embedding=x.float(), labels=y, ids=torch.arange(len(y)))


def test_accuracy_is_that_of_the_fit_and_no_scale_matters():
    x, y = problem()
    others, labels = problem(30, seed=1)
    found = []
    for scale in (1.0, 100.0):
        metric = LogisticAccuracy()
        metric.bank = scale * x.float(), y
        metric.process(None, [answer(scale * others, labels)])
        found.append(metric.evaluate(30)['logistic/top1'])
    mean, deviation = x.mean(0), x.std(0, correction=0)
    fitted = fit_logistic((x - mean) / deviation, y, 3, 1e-3, 500)
    right = ((others - mean) / deviation @ fitted[:-1] + fitted[-1]).argmax(1) == labels
    assert found == [pytest.approx(100 * right.double().mean().item())] * 2
    assert 60 < found[0] < 100


def test_a_new_bank_is_fitted_anew_and_a_class_without_images_in_it_is_wrong():
    x, y = problem()
    metric = LogisticAccuracy()
    metric.bank = x.float(), y
    metric.process(None, [answer(x, y)])
    first = metric.evaluate(60)['logistic/top1']
    metric.bank = x.float(), (y + 1) % 3
    metric.process(None, [answer(x, y)])
    assert metric.evaluate(60)['logistic/top1'] < 100 - first + 1
    metric.bank = x[y < 2].float(), y[y < 2]
    metric.process(None, [answer(x[y == 2], y[y == 2])])
    known = answer(x[y < 2], y[y < 2])
    metric.process(None, [{**known, 'ids': 20 + known['ids']}])  # a later batch has fewer classes than the first
    found = metric.evaluate(60)['logistic/top1']
    metric.bank = x[y < 2].float(), y[y < 2]
    metric.process(None, [known])
    assert found == pytest.approx(metric.evaluate(40)['logistic/top1'] * 2 / 3)


def test_features_that_are_not_finite_are_refused():
    x, y = problem()
    metric = LogisticAccuracy()
    x[3, 2] = float('nan')
    metric.bank = x.float(), y
    with pytest.raises(InputError, match='not finite'):
        metric.process(None, [answer(x, y)])
