"""Test --cfg-options: values follow YAML's rules and the declared type of the parameter."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from openmix.check import check_recipe
from openmix.config import load_config
from openmix.config_hash import config_hash
from openmix.errors import InputError
from openmix.options import DictAction, OptionText, read_plain, words_of
from openmix.settle import read_typed

DIGITS = 'classification/digits/resnet20.py'
FOLDER = 'classification/image_folder/resnet18.py'


@pytest.mark.parametrize(
    ('text', 'hint', 'value'),
    [
        ('my set', str, 'my set'),
        ('"my set"', str, 'my set'),
        ("'2024'", str, '2024'),
        ('2024', str, '2024'),
        ('2024', int, 2024),
        ('2024', float, 2024),
        ('german shepherd', str, 'german shepherd'),
        ('a,b', str, 'a,b'),
        ('a,b', Sequence[str], ['a', 'b']),
        ('a b,c', Sequence[str], ['a b', 'c']),
        ('[a b, c]', Sequence[str], ['a b', 'c']),
        ("('',layer1,layer2)", Sequence[str], ('', 'layer1', 'layer2')),
        ('(layer9,)', Sequence[str], ('layer9',)),
        ('0.2,0.8', tuple[float, float], [0.2, 0.8]),
        ('(0.2,0.8)', tuple[float, float], (0.2, 0.8)),
        ('((1,2),(3,4))', Sequence[Sequence[int]], ([1, 2], [3, 4])),
        ('[f(x), g(y)]', Sequence[str], ['f(x)', 'g(y)']),
        ('1e-3', float, 1e-3),
        ('1e-3', str, '1e-3'),
        ('0.10', str, '0.10'),
        ('010', str, '010'),
        ('1_000', str, '1_000'),
        ('null', str, 'null'),
        ('None', str, 'None'),
        ('None', str | None, None),
        ('null', str | None, None),
        ('~/data', str, '~/data'),
        ('None', int, None),
        ('True', bool, True),
        ('true', bool, True),
        ('on', str, 'on'),
        ('on', bool, 'on'),
        ('yes', bool, 'yes'),
        ('true', bool | Sequence[str], True),
        ('layer1,layer2', bool | Sequence[str], ['layer1', 'layer2']),
        ('5', str | int, 5),
        ('5', str | Path, '5'),
        ('a: b', str, 'a: b'),
        ('a # b', str, 'a # b'),
        ('# b', str, '# b'),
        ('C:\\data', str, 'C:\\data'),
        ('*.png', str, '*.png'),
        ('&x', str, '&x'),
        ('!tag', str, '!tag'),
        ('@home', str, '@home'),
        ('- a', str, '- a'),
        ('[2024] rose', str, '[2024] rose'),
        ('a=b=c', str, 'a=b=c'),
        (' padded ', str, ' padded '),
        ('', str, ''),
        ("''", str, ''),
        ('ü', str, 'ü'),
        ('two', Literal['one', 'two'], 'two'),
        ('nan', float, 'is nan'),
        ('inf', float, float('inf')),
        ('.inf', float, float('inf')),
        ('2024-01-01', Any, '2024-01-01'),
        ('german shepherd', None, 'german shepherd'),
        ('1:30', None, '1:30'),
        ('a,b', None, 'a,b'),
        ('a # b', None, 'a # b'),
        ('0.5', None, 0.5),
        ('[1, 2]', None, [1, 2]),
        ("'1'", None, '1'),
        ('None', None, None),
        ('[None, 1]', None, [None, 1]),
        ('(1, None)', tuple, (1, None)),
        ('{a: None, b: [None]}', None, {'a': None, 'b': [None]}),
        ('1,None', Sequence[int | None], [1, None]),
        ("['None', None of it]", None, ['None', 'None of it']),
        ('dict(a=1)', None, 'dict(a=1)'),
    ],
)
def test_a_value_means_what_its_parameter_takes(text, hint, value):
    found = read_typed(text, hint)
    if value == 'is nan':
        assert found != found
        return
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ('text', 'hint', 'told'),
    [
        ('', None, 'gives no value'),
        ('', int, 'gives no value'),
        ('"open', str, 'do not close'),
        ('"a" b', str, 'do not close'),
        ('[1, 2', Sequence[int], 'do not close'),
        ('(1, [2)', Sequence[int], 'do not close'),
        ('1e400', float, 'too large'),
        ('9' * 40, int, 'too large'),
        ('[1, !!python/name:os.system ]', Sequence[int], 'tag'),
        ('a,(b', Sequence[str], 'do not close'),
        ('[' * 500, Sequence[str], '50 levels deep'),
    ],
)
def test_what_means_nothing_is_one_line(text, hint, told):
    with pytest.raises(InputError, match=told) as caught:
        read_typed(text, hint)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['x', '  ', 'a b', '5', '(1,)', '{a: 1}'])
def test_a_text_without_a_type_reads_as_yaml_or_is_refused(text):
    if text.strip():
        assert read_plain(text) == {'x': 'x', 'a b': 'a b', '5': 5, '(1,)': (1,), '{a: 1}': {'a': 1}}[text]
    else:
        with pytest.raises(InputError, match='gives no value'):
            read_plain(text)


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['a'], r"takes KEY=VALUE, as in train_cfg.max_epochs=5, got 'a'"),
        (['=5'], 'takes KEY=VALUE'),
        ([''], 'takes KEY=VALUE'),
        (['a=1', 'a=2'], "is given 'a' twice"),
        (['a={b'], "option 'a': '{b': brackets or quotes"),
    ],
)
def test_words_that_are_no_options(words, told):
    with pytest.raises(InputError, match=told):
        words_of(words)


def test_several_lists_of_options_add_up():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    given = parser.parse_args(['--cfg-options', 'a=1', '--cfg-options', 'b= x=y'])
    assert given.cfg_options == {'a': OptionText('1'), 'b': OptionText(' x=y')}


def options(*words):
    return words_of(words)


def test_the_recipe_gets_what_its_classes_declare():
    cfg = load_config(
        FOLDER,
        options(
            'train_dataloader.dataset.root=2024',
            'val_dataloader.dataset.root=my set, new',
            'train_dataloader.dataset.classes=[german shepherd, "2024"]',
            'train_dataloader.batch_size=8',
            'model.policy.type=Mixup',
            'model.policy.alpha=2e-1',
            'model.policy.lam_range=0.2,0.8',
            'model.policy.sites=(layer1,)',
            'val_evaluator.topk=(1,)',
            'load_from=None',
            'work_dir=007',
            'custom_hooks.0.priority=LOW',
        ),
    )
    check_recipe(cfg)
    assert cfg.train_dataloader.dataset.root == '2024'
    assert cfg.val_dataloader.dataset.root == 'my set, new'
    assert cfg.train_dataloader.dataset.classes == ['german shepherd', '2024']
    assert cfg.model.policy == {'type': 'Mixup', 'alpha': 0.2, 'lam_range': [0.2, 0.8], 'sites': ('layer1',)}
    assert cfg.work_dir == '007'
    assert cfg.load_from is None


def test_an_option_in_braces_is_a_mapping():
    cfg = load_config(DIGITS, options('model.policy={_delete_: true, type: CutMix, alpha: 0.2}'))
    assert cfg.model.policy == {'type': 'CutMix', 'alpha': 0.2}


def test_an_element_of_a_list_is_typed_too():
    assert load_config(
        DIGITS, options('val_evaluator={topk: [1, 5]}', 'val_evaluator.topk.1=3')
    ).val_evaluator.topk == [1, 3]


def test_an_option_equals_the_same_setting_in_a_recipe(tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(f"_base_ = {DIGITS!r}\nmodel = dict(policy=dict(type='Mixup', alpha=0.2, sites=['layer1']))\n")
    typed = options('model.policy.type=Mixup', 'model.policy.alpha=0.2', 'model.policy.sites=[layer1]')
    assert config_hash(load_config(DIGITS, typed)) == config_hash(load_config(mine))


@pytest.mark.parametrize(
    ('word', 'told'),
    [
        ('max_epochs=5', "sets 'max_epochs', which nothing reads; did you mean 'train_cfg.max_epochs'"),
        ('alpha=5', "sets 'alpha', which nothing reads"),
        ('images.root=x', "'images' is not in the recipe"),
        ('custom_hooks.9={type: EMAHook}', "'9' is no place of that list"),
        ('custom_hooks.x=1', "'x' is no place of that list"),
        ('custom_hooks.-1=1', "'-1' is no place of that list"),
        ('model.policy.=1', 'a key is names with dots between them'),
        ('.model=1', 'a key is names with dots between them'),
        ('model..policy=1', 'a key is names with dots between them'),
        ('train_cfg.max_epochs=', 'gives no value'),
        ('train_cfg.max_epochs.x=1', 'which holds no keys'),
        ('_base_=x.py', 'what a recipe inherits is written in the recipe'),
        ('custom_imports={imports: [os]}', 'written in a Python recipe'),
        ('model.policy._scope_=x', '_scope_ would import'),
        ('model.policy._delete_=true', 'a replacement is written in a recipe'),
        ('notes=3', "sets 'notes', which nothing reads"),
    ],
)
def test_an_option_that_cannot_be_applied_is_one_line(word, told):
    with pytest.raises(InputError) as caught:
        check_recipe(load_config(DIGITS, options(word)))
    assert told in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('paramwise', 'told'),
    [
        ({'custom_keys': {'backbone': {'lr_mult': 0.0}}}, ''),
        ({'custom_keys': {'model': {'lr_mult': 0.1}, 'optimizer': {'decay_mult': 0.0}, 'loss': {'lr_mult': 1.0}}}, ''),
        ({'custom_keys': {'backbone': {'lr_mul': 0.0}}}, "backbone has no 'lr_mul'; did you mean 'lr_mult'"),
        ({'custom_keys': {'backbone': 0.0}}, 'custom_keys.backbone: must be a dict, got 0.0'),
    ],
)
def test_a_free_dict_may_hold_the_names_of_parts(paramwise, told):
    """What is built is told by signatures, not by the name of a key."""
    cfg = load_config(DIGITS, {'optim_wrapper.paramwise_cfg': paramwise})
    if told:
        with pytest.raises(InputError, match=told):
            check_recipe(cfg)
    else:
        check_recipe(cfg)
