"""Test predictions between two images against a loop over pairs, and the command that draws them."""

import csv
import types

import pytest
import torch
from torch import nn

from openmix.algorithm import Algorithm
from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError
from openmix.evaluation.mixed_predictions import MixedPredictionsHook, by_share, predictions_between, shares
from openmix.registry import MODELS


def test_shares_are_even_and_leave_out_both_ends():
    assert shares(3) == [0.25, 0.5, 0.75]
    assert len(shares(19)) == 19


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))


def test_predictions_are_those_of_a_loop():
    model, x, y = network(), torch.rand(6, 3, 2, 2), torch.tensor([0, 1, 2, 1, 2, 3])
    with torch.no_grad():
        found = predictions_between(model, x, y, 0.3)
        for pair in range(3):
            p = model((0.3 * x[pair] + 0.7 * x[3 + pair])[None])[0].double().softmax(0)
            a, b = y[pair], y[3 + pair]
            wanted = [p[a] / (p[a] + p[b]), p[a] / p[b], p.max(), float(p.argmax() in (a, b))]
            torch.testing.assert_close(found[pair], torch.tensor(wanted, dtype=torch.float64))


def runner(labels):
    """A runner whose model predicts the mean of the red channel, which holds the class, as the logit of class 1."""

    def logits_of(x):
        red = x[:, 0].mean((1, 2))
        return torch.stack([-10 * red, 10 * red, torch.full_like(red, -50)], 1)

    class Unchanged(nn.Module):
        def forward(self, batch, training):
            assert not training
            return batch

    class Model(Algorithm):
        def networks(self):
            return {'': logits_of}

    model = Model(Unchanged())
    y = torch.tensor(labels)
    x = torch.zeros(len(y), 3, 4, 4)
    x[:, 0] = 2 * y.float()[:, None, None] - 1
    return types.SimpleNamespace(model=model), dict(inputs=x, labels=y, ids=torch.arange(len(y)))


def test_pairs_are_of_two_classes_and_no_draw_is_taken():
    hook, drawn = MixedPredictionsHook(count=3), torch.get_rng_state()
    at, batch = runner([0, 0, 0, 1, 1, 1])
    metrics = {}
    hook.before_test_epoch(at)
    hook.after_test_iter(at, 0, batch)
    hook.after_test_epoch(at, metrics)
    assert torch.equal(torch.get_rng_state(), drawn)
    found = by_share(metrics)
    assert list(found) == [0.25, 0.5, 0.75]
    # Halfway the red channel is 0 and both classes are as probable; every pair counts both ways.
    assert found[0.5] == pytest.approx({'share': 0.5, 'ratio': 1, 'confidence': 0.5, 'accuracy': 1})
    assert found[0.25]['share'] == pytest.approx(torch.sigmoid(torch.tensor(-10.0)).item(), rel=1e-4)
    assert found[0.25]['share'] == pytest.approx(1 - found[0.75]['share'])


def test_images_of_one_class_are_refused():
    hook = MixedPredictionsHook()
    at, batch = runner([1, 1, 1])
    hook.after_test_iter(at, 0, batch)
    with pytest.raises(InputError, match='no batch has images of two classes'):
        hook.after_test_epoch(at, {})


def test_an_image_that_a_sampler_repeats_begins_one_pair():
    hook = MixedPredictionsHook(count=1)
    at, batch = runner([0, 0, 0, 1, 1, 1])
    found = []
    for times in (1, 2):
        hook.before_test_epoch(at)
        for _ in range(times):
            hook.after_test_iter(at, 0, batch)
        found.append({})
        hook.after_test_epoch(at, found[-1])
    assert found[0] == found[1]
    assert found[0]


def test_images_without_labels_are_refused():
    at, batch = runner([0, 1])
    with pytest.raises(InputError, match='must hold labels and ids'):
        MixedPredictionsHook().after_test_iter(at, 0, {**batch, 'labels': None})


def test_the_command(call, tmp_path):
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(
        "_base_ = 'configs/classification/digits/resnet20.py'\n"
        'model = dict(backbone=dict(depth=8, width=2))\n'
        'test_dataloader = dict(dataset=dict(subset=40))\n'
    )
    checkpoint = tmp_path / 'model.pth'
    torch.save({'state_dict': MODELS.build(launch.prepare(load_config(recipe)).model).state_dict()}, checkpoint)
    words = ['mixed_predictions.py', recipe, checkpoint, checkpoint, '--names', 'A', 'B', '--shares', 2]
    code, out, err = call(*words, '--out', tmp_path / 'out', '--cfg-options', f'work_dir={tmp_path / "log"}')
    assert code == 0, err
    assert out.split()[-1] == str(tmp_path / 'out' / 'between.csv')
    with (tmp_path / 'out' / 'between.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['name'], row['lam']) for row in rows] == [(n, x) for n in 'AB' for x in ('0.3333', '0.6667')]
    assert rows[0]['share'] == rows[2]['share']
    assert (tmp_path / 'out' / 'between.png').read_bytes()[:4] == b'\x89PNG'
    for wrong, line in ((['A'], 'as many different --names'), (['A', 'B', '--shares', 0], '--shares must be')):
        code, out, err = call('mixed_predictions.py', recipe, checkpoint, checkpoint, '--names', *wrong)
        assert (code, out) == (2, '')
        assert line in err
