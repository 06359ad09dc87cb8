"""Test calibration errors by hand calculations and against a loop over bins."""

import math

import pytest
import torch

from openmix.errors import InputError
from openmix.evaluation.analysis import reliability
from openmix.evaluation.calibration import calibration_errors
from openmix.registry import METRICS

pytest.importorskip('torchmetrics', reason='needs torchmetrics: the extra [evaluation]')


def measure(share, y, ids=None, bins=10):
    """Measure probabilities (N, C), in batches of two."""
    share, y = torch.tensor(share, dtype=torch.float64), torch.tensor(y)
    ids = torch.arange(len(y)) if ids is None else torch.tensor(ids)
    metric = METRICS.build(dict(type='Calibration', bins=bins))
    for part in zip(share.log().split(2), y.split(2), ids.split(2)):
        metric.process({}, [dict(zip(('logits', 'labels', 'ids'), part))])
    return metric.evaluate(len(y))


def test_errors_by_hand():
    """Two images at confidence .75, one right; two at .95, both right."""
    share = [[0.75, 0.25], [0.25, 0.75], [0.95, 0.05], [0.95, 0.05]]
    found = measure(share, [0, 0, 0, 0])
    assert found == pytest.approx(
        {
            'calibration/ece': 100 * (0.5 * 0.25 + 0.5 * 0.05),
            'calibration/rms': 100 * math.sqrt(0.5 * 0.25**2 + 0.5 * 0.05**2),
            'calibration/mce': 25,
            'calibration/brier': (2 * 0.25**2 + 2 * 0.75**2 + 4 * 0.05**2) / 4,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize('bins', [1, 7, 15])
def test_errors_are_those_of_a_loop(bins):
    g = torch.Generator().manual_seed(0)
    share = (3 * torch.randn(200, 5, generator=g, dtype=torch.float64)).softmax(1)
    y = torch.randint(5, (200,), generator=g)
    ece = mean = worst = 0.0
    for low in range(bins):
        inside = [i for i in range(200) if low / bins < share[i].max() <= (low + 1) / bins]
        if inside:
            confidence = sum(float(share[i].max()) for i in inside) / len(inside)
            accuracy = sum(int(share[i].argmax()) == int(y[i]) for i in inside) / len(inside)
            gap, weight = abs(confidence - accuracy), len(inside) / 200
            ece, mean, worst = ece + weight * gap, mean + weight * gap**2, max(worst, gap)
    found = measure(share.tolist(), y.tolist(), bins=bins)
    assert found['calibration/ece'] == pytest.approx(100 * ece, rel=1e-5)
    assert found['calibration/rms'] == pytest.approx(100 * math.sqrt(mean), rel=1e-5)
    assert found['calibration/mce'] == pytest.approx(100 * worst, rel=1e-5)


def test_a_confidence_of_one_is_in_the_last_bin():
    """Six images in bins (.2, .4], (.4, .6], (.6, .8] and (.8, 1]: the edge belongs to the bin below it."""
    confidence = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.4], dtype=torch.float64)
    right = torch.tensor([0, 1, 1, 1, 1, 0])
    found = calibration_errors(confidence, right, 5)
    gaps, weights = [0.95 - 0.5, 1 - 0.75, 1 - 0.6, 0.4], [2 / 6, 2 / 6, 1 / 6, 1 / 6]
    assert found == pytest.approx(
        {
            'ece': 100 * sum(w * gap for w, gap in zip(weights, gaps)),
            'rms': 100 * math.sqrt(sum(w * gap**2 for w, gap in zip(weights, gaps))),
            'mce': 45,
        }
    )


@pytest.mark.parametrize('bins', [1, 5, 15])
def test_errors_and_the_reliability_diagram_have_the_same_bins(bins):
    confidence = torch.cat([torch.linspace(0.1, 1, 91, dtype=torch.float64), torch.ones(20, dtype=torch.float64)])
    right = (torch.arange(111) % 3 > 0).long()
    shown = [one for one in reliability(confidence, right, bins) if one.images]
    ece = sum(one.images * abs(one.confidence - one.accuracy) for one in shown) / 111
    assert calibration_errors(confidence, right, bins)['ece'] == pytest.approx(100 * ece)


def test_images_that_a_sampler_repeats_count_once():
    share = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    assert measure([*share, share[0]], [0, 1, 1, 0], [0, 1, 2, 0]) == measure(share, [0, 1, 1])


def test_a_perfect_classifier_has_no_error():
    assert list(measure([[1.0, 0.0], [0.0, 1.0]], [0, 1]).values()) == pytest.approx([0.0] * 4, abs=1e-12)


@pytest.mark.parametrize('bins', [0, 1.5, True])
def test_bins_are_a_positive_integer(bins):
    with pytest.raises(InputError, match='Calibration: bins'):
        METRICS.build(dict(type='Calibration', bins=bins))


def test_images_without_labels_are_refused():
    metric = METRICS.build(dict(type='Calibration'))
    with pytest.raises(InputError, match='must hold labels and ids'):
        metric.process({}, [dict(logits=torch.zeros(1, 2), labels=None, ids=None)])
