"""Test the accuracy on mixed samples by hand calculations, and that measuring it does not change the training."""

import copy
import types

import pytest
import torch

from openmix.errors import InputError
from openmix.evaluation.mixed_accuracy import MixedAccuracyHook, mixed_hits
from openmix.mix import Mix
from openmix.models.mixing import Mixed
from openmix.registry import MODELS


def hits(logits, y, source, weight):
    return [hit.tolist() for hit in mixed_hits(torch.tensor(logits), torch.tensor(y), Mix(source, weight))]


def test_hits_are_those_of_the_caption():
    y = [0, 1, 2, 2]
    source = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])
    weight = torch.full((4, 2), 0.5)
    logits = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 3.0], [1.0, 2.0, 3.0]]
    first, both = hits(logits, y, source, weight)
    assert first == [1, 0, 1, 1]
    assert both[:2] == [1, 0]
    assert both[2] != both[2]  # two images of one class
    assert both[3] == 0


def test_sources_without_a_share_do_not_count():
    source, weight = torch.tensor([[0, 1]]), torch.tensor([[1.0, 0.0]])
    first, both = hits([[1.0, 3.0, 2.0]], [0, 1], source, weight)
    assert first == [0]
    assert both[0] != both[0]


def test_more_than_two_sources():
    source, weight = torch.tensor([[0, 1, 2]] * 2), torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]])
    first, both = hits([[0.0, 1.0, 5.0, 6.0], [4.0, 5.0, 1.0, 2.0]], [0, 1, 2], source, weight)
    assert first == [0, 1]
    assert both[0] != both[0]
    assert both[1] == 1


def classifier(policy):
    torch.manual_seed(0)
    backbone, head = dict(type='ThinResNet', depth=8, width=8), dict(type='LinearHead', num_classes=5)
    preprocessor = MODELS.build(dict(type='ImagePreprocessor', mean=[0.5], std=[0.5]))
    cfg = dict(type='MixClassifier', backbone=backbone, head=head, policy=policy, data_preprocessor=preprocessor)
    return MODELS.build(cfg).eval()


def validate(hook, model, ids=range(8)):
    """Run one validation in batches of 4."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(8, 3, 16, 16, generator=g), torch.randint(5, (8,), generator=g)
    runner, metrics = types.SimpleNamespace(model=model), {}
    hook.before_val_epoch(runner)
    with torch.no_grad():
        for i, start in enumerate((0, 4)):
            part = slice(start, start + 4)
            hook.after_val_iter(runner, i, dict(inputs=x[part], labels=y[part], ids=torch.tensor(ids)[part]))
    hook.after_val_epoch(runner, metrics)
    return metrics


POLICIES = [
    dict(type='Mixup', alpha=1.0),
    dict(type='Mixup', alpha=1.0, sites=('layer1',)),
    dict(type='PuzzleMix', alpha=1.0),
    dict(type='CoMixup', block_num=4),
    dict(type='AMix', alpha=2.0, site='layer2'),
]


@pytest.mark.parametrize('policy', POLICIES, ids=lambda policy: policy['type'] + '+'.join(policy.get('sites', '')))
def test_a_validation_repeats_and_leaves_no_trace(policy):
    model = classifier(policy)
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, second = (validate(MixedAccuracyHook(), model) for _ in range(2))
    assert first == second
    # So small a batch may hold no sample of two classes.
    assert {'mixed_accuracy/top1'} <= set(first) <= {'mixed_accuracy/top1', 'mixed_accuracy/top2'}
    assert 0 <= first['mixed_accuracy/top1'] <= 100
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def answer(model, logits_of):
    """Make a classifier return given logits (N, C) for a batch with a given `Mix`."""

    def mixed(context):
        logits, mix = logits_of(context.y)
        return Mixed(logits, mix, model.policy, '', context.x, context)

    model.mixed, model.head = mixed, torch.nn.Identity()


def test_a_perfect_classifier_recognises_what_is_mixed():
    model = classifier(dict(type='Mixup', alpha=1.0))
    answer(model, lambda y: (torch.eye(5)[y] * 2 + torch.eye(5)[y.flip(0)], pairs(len(y))))
    found = validate(MixedAccuracyHook(), model)
    assert found['mixed_accuracy/top1'] == 100
    assert found['mixed_accuracy/top2'] == 100


def pairs(n):
    source = torch.stack([torch.arange(n), torch.arange(n).flip(0)], 1)
    return Mix(source, torch.full((n, 2), 0.5))


def test_what_a_sampler_repeats_counts_once():
    model, batches = classifier(dict(type='Mixup', alpha=1.0)), iter(['right', 'wrong', 'right', 'wrong'])

    def mixed(y):
        own = torch.eye(5)[y] if next(batches) == 'right' else torch.zeros(len(y), 5)
        others = 1 - torch.eye(5)[y]
        return own * 2 + others, Mix(torch.arange(len(y))[:, None].repeat(1, 2), torch.full((len(y), 2), 0.5))

    answer(model, mixed)
    assert validate(MixedAccuracyHook(), model)['mixed_accuracy/top1'] == 50
    assert validate(MixedAccuracyHook(), model, ids=[0, 1, 2, 3] * 2)['mixed_accuracy/top1'] == 100


def test_what_no_sample_defines_is_left_out():
    model = classifier(dict(type='Mixup', alpha=1.0))
    n, same = 4, torch.zeros(4, 2, dtype=torch.int64)
    answer(model, lambda y: (torch.eye(5)[y], Mix(same, torch.full((n, 2), 0.5))))
    assert set(validate(MixedAccuracyHook(), model)) == {'mixed_accuracy/top1'}


def test_nothing_mixed_adds_nothing():
    assert validate(MixedAccuracyHook(), classifier(dict(type='NoMix'))) == {}


def test_a_policy_that_mixes_with_batches_of_the_training_is_refused():
    recursive = dict(type='RecursiveMix', site='layer2')
    for policy in (recursive, dict(type='Until', policy=recursive, epoch=2)):
        with pytest.raises(InputError, match='RecursiveMix mixes with batches of the training'):
            MixedAccuracyHook().before_run(types.SimpleNamespace(model=classifier(policy)))


def test_a_regression_is_refused_before_it_trains():
    regressor = MODELS.build(
        dict(
            type='MixRegressor',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='RegressionHead', num_outputs=1),
            policy=dict(type='Mixup'),
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.25,) * 3),
        )
    )
    with pytest.raises(InputError, match='MixedAccuracyHook: MixRegressor trains no classifier'):
        MixedAccuracyHook().before_run(types.SimpleNamespace(model=regressor))
