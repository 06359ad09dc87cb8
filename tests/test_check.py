"""Mistyped names in a recipe are found before anything is built."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.check import _value, check_recipe
from openmix.config import load_config
from openmix.errors import InputError
from openmix.overrides import apply_overrides, origin
from openmix.shipped import configs_dir
from openmix.signatures import arguments, fits

RECIPE = 'classification/digits/resnet20.py'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('openmix')


TYPOS = [
    ({'model.polcy': {'type': 'CutMix'}}, "model: MixClassifier has no 'polcy'; did you mean 'policy'"),
    ({'model.policy.sits': ['']}, "model.policy: NoMix has no 'sits'; did you mean 'sites'"),
    ({'model.policy.type': 'CutMx'}, "model.policy: unknown mixup 'CutMx'; did you mean 'CutMix'"),
    ({'model.backbone.depht': 20}, "did you mean 'depth'"),
    ({'model.backbone.type': 'ThinResnet'}, "did you mean 'ThinResNet'"),
    ({'model.head.loss.type': 'mix_c'}, "did you mean 'mix_ce'"),
    ({'model.head.loss.smooting': 0.1}, "did you mean 'smoothing'"),
    (
        {'model.data_preprocessor.augment.0.paddin': 1},
        "model.data_preprocessor.augment.0: BatchRandomCrop has no 'paddin'",
    ),
    ({'train_dataloader.batchsize': 4}, "the recipe: train_dataloader has no 'batchsize'; did you mean 'batch_size'"),
    ({'train_dataloader.dataset.subst': 1}, "did you mean 'subset'"),
    ({'train_dataloader.dataset.type': 'Digit'}, "did you mean 'Digits'"),
    ({'train_dataloader.sampler.shufle': True}, "did you mean 'shuffle'"),
    ({'train_dataloader.collate_fn.type': 'identity'}, "did you mean 'identity_collate'"),
    ({'optim_wrapper.type': 'OptimWraper'}, "did you mean 'OptimWrapper'"),
    ({'optim_wrapper.optimizer.weight_decy': 1}, "did you mean 'weight_decay'"),
    ({'optim_wrapper.clip_grads': {}}, "did you mean 'clip_grad'"),
    ({'param_scheduler.0.eta_mn': 1}, "did you mean 'eta_min'"),
    ({'train_cfg.max_epoch': 3}, "did you mean 'max_epochs'"),
    ({'val_evaluator.top_k': 1}, "did you mean 'topk'"),
    ({'default_hooks.logger.intervl': 1}, "did you mean 'interval'"),
    ({'custom_hooks.0.type': 'StepSedHook'}, "did you mean 'StepSeedHook'"),
    ({'visualizer.type': 'Visualiser'}, "did you mean 'Visualizer'"),
    ({'randomness.sed': 1}, "did you mean 'seed'"),
    ({'optim_wraper': {'type': 'SGD'}}, "'optim_wraper', which nothing reads; did you mean 'optim_wrapper'"),
]


@pytest.mark.parametrize(('typo', 'line'), TYPOS, ids=[next(iter(typo)) for typo, _ in TYPOS])
def test_typo_is_one_line_that_says_where(typo, line):
    with pytest.raises(InputError) as caught:
        check_recipe(apply_overrides(load_config(RECIPE), typo))
    assert line in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.clip_grad': {'max_norm': 1.0}},
        {'optim_wrapper.accumulative_counts': 2, 'optim_wrapper.paramwise_cfg': {'norm_decay_mult': 0.0}},
        {'default_hooks.checkpoint.save_best': 'accuracy/top1', 'custom_hooks.0.priority': 'LOW'},
        {'model.policy': {'type': 'OneOf', 'policies': [{'type': 'Mixup', 'alpha': 0.8}], '_delete_': True}},
        {
            'train_dataloader.dataset': {
                'type': 'ImageFolder',
                'root': 'x',
                'pipeline': [{'type': 'RandomFlip', 'prob': 0.5}],
            }
        },
        {'my_own_variable': {'anything': 1}, 'train_dataloader.persistent_workers': False},
        {'model.backbone': {'type': 'TimmBackbone', 'name': 'resnet18', 'drop_rate': 0.1, '_delete_': True}},
    ],
)
def test_what_is_right_passes(options):
    check_recipe(apply_overrides(load_config(RECIPE), options))


@pytest.mark.parametrize(
    'text',
    [
        'total_epochs = 3\ntrain_cfg = dict(max_epochs=total_epochs)\n',
        "data_preprocessor = dict(type='ImagePreprocessor')\nmodel = dict(data_preprocessor=data_preprocessor)\n",
        "strategy = 'sample'\nmodel = dict(policy=dict(_delete_=True, type='Mixup', share=strategy))\n",
    ],
)
def test_a_variable_may_have_any_name(tmp_path, text):
    (tmp_path / 'mine.py').write_text(f"_base_ = 'openmix::{RECIPE}'\n{text}")
    check_recipe(load_config(tmp_path / 'mine.py'))


def test_children_of_a_mixture_are_checked():
    policy = {'type': 'OneOf', 'policies': [{'type': 'Mixup', 'alhpa': 0.8}], '_delete_': True}
    with pytest.raises(InputError, match=r"model\.policy\.policies\.0: Mixup has no 'alhpa'; did you mean 'alpha'"):
        check_recipe(apply_overrides(load_config(RECIPE), {'model.policy': policy}))


def test_arguments_follow_keywords_to_the_parents():
    class Base:
        def __init__(self, a, *rest): ...

    class Child(Base):
        def __init__(self, b, **kwargs): ...

    class Open(Child):
        def __init__(self, c, **kwargs): ...

    class Swallows:
        def __init__(self, d, **kwargs): ...

    assert set(arguments(Open)) == {'self', 'a', 'b', 'c'}
    assert arguments(Swallows) is None
    assert set(arguments(lambda x, y=1: None)) == {'x', 'y'}


@pytest.mark.parametrize(
    ('value', 'hint', 'right'),
    [
        (1, float, True),
        (True, int, False),
        (1.0, int, False),
        ('x', float | None, False),
        (None, float | None, True),
        ([1, 2], Sequence[int], True),
        ((1, 'x'), Sequence[int], False),
        ('ab', Sequence[str], False),
        ((0.1, 0.2), tuple[float, float], True),
        ((0.1,), tuple[float, float], False),
        ({'a': 1}, dict, True),
        ([], dict, False),
        ({'type': 'X'}, torch.nn.Module, True),
        ('X', torch.nn.Module, False),
        ('x.pth', Path, True),
        (3, Any, True),
    ],
)
def test_a_value_fits_its_annotation(value, hint, right):
    assert fits(value, hint) is right


def test_the_line_says_what_set_it(tmp_path):
    """An option, the recipe's own file, or the base that names the key."""
    mine = tmp_path / 'mine.py'
    base = configs_dir() / RECIPE
    mine.write_text(f'_base_ = {str(base)!r}\nmodel = dict(policy=dict(alhpa=1))\ntrain_cfg = dict(max_epochs=3)\n')
    cfg = load_config(mine, {'model.backbone.depht': 8})
    assert origin(cfg, 'model.backbone.depht') == '--cfg-options model.backbone.depht'
    assert origin(cfg, 'model.policy.alhpa').endswith('mine.py')
    assert origin(cfg, 'train_dataloader.sampler.shuffle').endswith('configs/_base_/loaders/labelled.py')
    assert origin(copy.deepcopy(cfg), 'default_hooks.logger.interval').endswith('configs/_base_/runtime.py')
    with pytest.raises(InputError, match=r"no 'alhpa'.*\(in .*mine\.py\)"):
        check_recipe(load_config(mine))


def test_an_annotation_that_the_default_breaks_holds_nobody_up():
    """mmengine writes `seed: int = None` here and there."""

    def function(seed: int = None): ...  # noqa: RUF013

    assert not list(_value('place', 'where', None, arguments(function)['seed']))
    assert list(_value('place', 'where', 'x', arguments(function)['seed']))
