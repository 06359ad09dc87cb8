"""Test how recipes are found, merged, overridden, hashed and compared."""

import pytest
from mmengine.config import Config

from openmix import config
from openmix.config_files import config_path, work_dir_of
from openmix.config_hash import config_hash, diff
from openmix.errors import InputError
from openmix.overrides import apply_overrides
from openmix.yaml_file import load_yaml


def write(path, text):
    path.write_text(text)
    return path


def test_python_over_yaml_over_yaml(tmp_path):
    write(tmp_path / 'base.yaml', 'model: {policy: {type: NoMix}, width: 16}\nlr: 0.1\n')
    write(tmp_path / 'middle.yaml', '_base_: base.yaml\nlr: 1e-3\nflag: on\ncheck: true\n')
    leaf = write(tmp_path / 'leaf.py', "_base_ = 'middle.yaml'\nmodel = dict(width=8)\n")
    cfg = config.load_config(leaf)
    assert cfg.lr == 1e-3
    assert isinstance(cfg.lr, float)
    assert cfg.flag == 'on'
    assert cfg.check is True
    assert cfg.model == dict(policy=dict(type='NoMix'), width=8)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-3', 1e-3),
        ('1.5E+2', 150.0),
        ('5', 5),
        ('-.5', -0.5),
        ('no', 'no'),
        ('2024-01-01', '2024-01-01'),
        ('~', None),
    ],
)
def test_yaml_scalars(tmp_path, text, value):
    loaded = load_yaml(write(tmp_path / 'a.yaml', f'x: {text}\n'))['x']
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ('text', 'line'),
    [('1: a\n', 'not a string'), ('a: 1\na: 2\n', 'given twice'), ('- a\n', 'mapping'), ('a: [', 'a.yaml')],
)
def test_bad_yaml_is_one_line(tmp_path, text, line):
    with pytest.raises(InputError, match=line) as caught:
        load_yaml(write(tmp_path / 'a.yaml', text))
    assert '\n' not in str(caught.value)


def test_missing_recipe_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'classification/digits/resnet20\.py'"):
        config_path('classification/digits/resnet02.py')


def test_found_by_every_spelling():
    names = ('classification/digits/resnet20', 'configs/classification/digits/resnet20.py')
    assert len({config_path(name) for name in names}) == 1


def test_broken_recipe_is_one_line(tmp_path):
    path = write(tmp_path / 'a.py', 'x = 1 / 0\n')
    with pytest.raises(InputError, match='ZeroDivisionError'):
        config.load_config(path)


def recipe() -> Config:
    policy = dict(type='FMix', alpha=1.0, decay=3.0)
    return Config(dict(model=dict(policy=policy, head=dict(eta=0.1)), schedule=[dict(type='Cosine', end=10)]))


def test_delete_replaces_and_leaves_no_mark():
    new = apply_overrides(
        recipe(),
        {'model.policy.alpha': 0.2, 'model.policy': dict(type='CutMix', inner=dict(_delete_=True, a=1), _delete_=True)},
    )
    assert new.model.policy == dict(type='CutMix', inner=dict(a=1), alpha=0.2)


def test_overrides_merge_dicts_and_reach_into_lists():
    new = apply_overrides(recipe(), {'model.head': dict(bias=True), 'schedule.0.end': 3, 'model.new': 1})
    assert new.model.head == dict(eta=0.1, bias=True)
    assert new.schedule[0].end == 3
    assert new.model.new == 1
    assert recipe().schedule[0]['end'] == 10


@pytest.mark.parametrize(
    ('key', 'line'),
    [
        ('modle.policy', "did you mean 'model'"),
        ('model.polcy.alpha', "did you mean 'policy'"),
        ('schedule.7.end', 'valid: 0'),
    ],
)
def test_override_without_a_parent(key, line):
    with pytest.raises(InputError, match=line):
        apply_overrides(recipe(), {key: 1})


def test_delete_replaces_a_place_of_a_list_too():
    new = apply_overrides(recipe(), {'schedule.0': dict(type='Linear', _delete_=True), 'schedule.0.end': 5})
    assert new.schedule == [dict(type='Linear', end=5)]
    with pytest.raises(InputError, match="'3' is no place of that list; valid: 0"):
        apply_overrides(recipe(), {'schedule.3': dict(type='Linear', _delete_=True)})


def test_delete_alone_is_refused():
    with pytest.raises(InputError, match='written in a recipe'):
        apply_overrides(recipe(), {'model.policy._delete_': True})


def test_overrides_can_be_applied_again():
    overrides = {
        'model': dict(policy=dict(_delete_=True, type='CutMix')),
        'schedule.0': dict(type='Step', inner=dict(_delete_=True, a=1)),
    }
    first = apply_overrides(recipe(), overrides)
    assert first.model.policy == dict(type='CutMix')
    assert apply_overrides(recipe(), overrides)._cfg_dict == first._cfg_dict


def test_overrides_leave_the_recipe_alone():
    cfg = recipe()
    apply_overrides(cfg, {'model.policy.alpha': 0.2, 'schedule.0.end': 1})
    assert cfg.model.policy.alpha == 1.0
    assert cfg.schedule[0]['end'] == 10


def test_hash_sees_settings_and_not_the_run(tmp_path):
    cfg = recipe()
    same = apply_overrides(
        cfg, {'work_dir': '/a', 'launcher': 'pytorch', 'randomness': dict(seed=3), 'data_on_device': True}
    )
    assert config_hash(cfg) == config_hash(same)
    assert config_hash(cfg) != config_hash(apply_overrides(cfg, {'model.policy.alpha': 0.9}))
    dumped = tmp_path / 'dumped.py'
    cfg.dump(str(dumped))
    assert config_hash(config.load_config(dumped)) == config_hash(cfg)


@pytest.mark.parametrize('name', ['dumped.py', 'dumped.yaml'])
def test_a_text_in_double_braces_can_be_read_from_what_is_dumped(tmp_path, name):
    texts = ['{{ fileDirname }}', "{{'$HOME:here'}}", '\\{{ _base_.a }}\n', '{{{{{' + 'w ' * 60 + '{{ fileDirname }}']
    cfg = config.load_config(write(tmp_path / 'mine.py', 'a = 1\n'))
    cfg = apply_overrides(cfg, {'notes': texts, 'named': {'{{ fileBasename }}': 1}})
    cfg.dump(str(tmp_path / name))
    read = config.load_config(tmp_path / name)
    assert (read.notes, read.named.to_dict()) == (texts, {'{{ fileBasename }}': 1})
    assert config_hash(read) == config_hash(cfg)


def test_diff_lists_what_changed():
    new = apply_overrides(recipe(), {'model.policy.alpha': 0.2, 'model.new': 1})
    assert diff(recipe(), new) == ['+ model.new = 1', '- model.policy.alpha = 1.0', '+ model.policy.alpha = 0.2']


def test_work_dir_mirrors_the_recipe(tmp_path):
    assert str(work_dir_of('classification/digits/resnet20')) == 'work_dirs/classification/digits/resnet20'
    assert str(work_dir_of(write(tmp_path / 'mine.py', ''))) == 'work_dirs/mine'


def test_bases_are_what_a_recipe_inherits():
    name = 'classification/digits/resnet20.py'
    lines = diff(config.bases_of(name), config.load_config(name))
    assert "+ model.policy.type = 'NoMix'" in lines
    assert not [line for line in lines if 'default_scope' in line]
