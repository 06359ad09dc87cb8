"""Test the errors on occluded images: their names, their mean and options."""

import pytest
import torch
from test_attacks import classifier, data, measure

from openmix.errors import InputError
from openmix.evaluation.occlusion_hook import OcclusionHook


def test_errors_of_every_share_and_their_mean():
    model, batch = classifier(), data()
    found = measure(OcclusionHook((0.0, 0.5, 1.0)), model, batch)
    assert found.keys() == {'occlusion/0', 'occlusion/0.5', 'occlusion/1', 'occlusion/error'}
    black = measure(OcclusionHook((1.0,), patch=5), model, {**batch, 'inputs': batch['inputs'] * 0})
    assert found['occlusion/1'] == black['occlusion/1']
    assert found['occlusion/error'] == pytest.approx(sum(found[f'occlusion/{s}'] for s in ('0', '0.5', '1')) / 3)
    # In batches of another size, the same.
    assert measure(OcclusionHook((0.0, 0.5, 1.0)), model, batch, (4, 12)) == found


def test_without_a_missing_patch_the_error_is_the_clean_one():
    model, batch = classifier(), data()
    with torch.no_grad():
        logits = model.network('')(model.data_preprocessor.network_input(batch['inputs'] / 255))
    wrong = (logits.argmax(1) != batch['labels']).double().mean().item() * 100
    assert measure(OcclusionHook((0.0,)), model, batch)['occlusion/0'] == pytest.approx(wrong)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'shares': ()}, 'at least one'),
        ({'shares': (0.5, 0.5)}, 'must be different'),
        ({'shares': (50,)}, 'shares must be'),
        ({'patch': 0}, 'patch must be'),
    ],
)
def test_options_out_of_range_are_one_line(options, line):
    with pytest.raises(InputError, match=line):
        OcclusionHook(**options)
