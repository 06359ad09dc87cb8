"""Test the errors on corrupted images: their names, means and options."""

import statistics

import pytest
import torch
from test_attacks import classifier, data, measure

from openmix.errors import InputError
from openmix.evaluation.accuracy import rank_of_label
from openmix.evaluation.corruption_hook import CorruptionHook
from openmix.ops.corruptions import corrupt


def test_errors_and_their_means():
    model, batch = classifier(), data()
    kinds = ('contrast', 'gaussian_noise')
    found = measure(CorruptionHook(kinds, (1, 5)), model, batch)
    one = {}
    for kind in kinds:
        for severity in (1, 5):
            images = corrupt(batch['inputs'] / 255, kind, severity, 'cifar', batch['ids'])
            with torch.no_grad():
                logits = model.network('')(model.data_preprocessor.network_input(images))
            wrong = (rank_of_label(logits, batch['labels']) > 0).double().mean().item() * 100
            one[f'corruption/{kind}/{severity}'] = wrong
            assert found[f'corruption/{kind}/{severity}'] == pytest.approx(wrong)
    assert found['corruption/contrast'] == pytest.approx(
        (one['corruption/contrast/1'] + one['corruption/contrast/5']) / 2
    )
    assert found['corruption/error'] == pytest.approx(statistics.fmean(one.values()))
    assert len(found) == 7
    # In batches of another size, the same.
    assert measure(CorruptionHook(kinds, (1, 5)), model, batch, (4, 12)) == found


def test_levels_follow_the_size():
    model, batch = classifier(), data()
    cifar, imagenet = (
        measure(CorruptionHook(['contrast'], (5,), scale), model, batch) for scale in ('cifar', 'imagenet')
    )
    assert measure(CorruptionHook(['contrast'], (5,)), model, batch) == cifar
    large = {**batch, 'inputs': batch['inputs'].repeat(1, 1, 5, 5)}
    assert measure(CorruptionHook(['contrast'], (5,)), model, large) == measure(
        CorruptionHook(['contrast'], (5,), 'imagenet'), model, large
    )
    assert cifar.keys() == imagenet.keys()


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(kinds=['gaussian_nois']), "did you mean 'gaussian_noise'"),
        (dict(kinds=[]), 'at least one kind'),
        (dict(severities=[0]), 'severities must be'),
        (dict(severities=[6]), 'severities must be'),
        (dict(scale='tiny'), 'scale'),
    ],
)
def test_options_that_cannot_be_meant(options, line):
    with pytest.raises(InputError) as caught:
        CorruptionHook(**options)
    assert line in str(caught.value)
