"""Recipes in any folder inherit from openmix's recipes by three spellings; other spellings give one error line."""

import pytest

from openmix.config import bases_of, load_config
from openmix.config_files import config_path
from openmix.config_hash import diff
from openmix.errors import InputError
from openmix.overrides import origin
from openmix.shipped import configs_dir

NAME = 'classification/digits/resnet20.py'
SPELLINGS = [f'configs/{NAME}', NAME, NAME.removesuffix('.py'), f'openmix::{NAME}', f'openmix::configs/{NAME}']


@pytest.mark.parametrize('spelling', SPELLINGS)
@pytest.mark.parametrize('suffix', ['py', 'yaml'])
def test_every_spelling_works_in_any_folder(spelling, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / 'deep' / f'mine.{suffix}'
    mine.parent.mkdir()
    base, more = f'_base_ = {spelling!r}', 'train_cfg = dict(max_epochs=3)'
    if suffix == 'yaml':
        base, more = f'_base_: {spelling}', 'train_cfg: {max_epochs: 3}'
    mine.write_text(f'{base}\n{more}\n')
    cfg = load_config(mine)
    assert diff(load_config(NAME), cfg) == ['- train_cfg.max_epochs = 15', '+ train_cfg.max_epochs = 3']
    assert diff(bases_of(mine), load_config(NAME)) == []
    assert origin(cfg, 'train_cfg.max_epochs').endswith(f'mine.{suffix}')
    assert origin(cfg, 'default_hooks.logger.interval').endswith('configs/_base_/runtime.py')


def test_a_file_that_is_there_comes_first(tmp_path):
    beside = tmp_path / 'configs' / NAME
    beside.parent.mkdir(parents=True)
    beside.write_text('mine = 1\n')
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(f"_base_ = 'configs/{NAME}'\n")
    assert load_config(recipe).to_dict() == {'mine': 1}
    recipe.write_text(f"_base_ = 'openmix::{NAME}'\n")
    assert load_config(recipe).model.type == 'MixClassifier'


def test_each_place_of_a_shared_dict_is_replaced(tmp_path):
    """The three loaders of a recipe are often one dict with one `_delete_`."""
    (tmp_path / 'base.py').write_text('a = dict(x=1)\nb = dict(x=1)\n')
    (tmp_path / 'mine.py').write_text("_base_ = 'base.py'\nshared = dict(_delete_=True, y=2)\na = shared\nb = shared\n")
    cfg = load_config(tmp_path / 'mine.py')
    assert (cfg.a, cfg.b) == ({'y': 2}, {'y': 2})


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ("_base_ = 'classification/digits/resnet02.py'", "did you mean 'classification/digits/resnet20.py'"),
        ("_base_ = 'openmix::resnet20_smal'", "'classification/cifar10/resnet20_small.py'"),
        ("_base_ = 'neighbor.py'", "did you mean 'neighbour.py'"),
        ("_base_ = 'mmdet::faster_rcnn.py'", "files are known of 'openmix::' alone"),
        ("_base_ = ''", "no file '' to inherit from"),
        ("_base_ = '.'", 'to inherit from'),
        ('_base_ = 3', '_base_ must be a file or a list of files, written out, got 3'),
        ("_base_ = 'neighbour.py'\n_base_ = name()", 'ValueError: malformed node'),
        ("_base_: str = 'neighbour.py'", 'write _base_ = ... by itself and at the left margin'),
        ("if True:\n    _base_ = 'neighbour.py'", 'write _base_ = ... by itself and at the left margin'),
        ("_base_ = ['neighbour.py', 'other.py']", "two files of _base_ set 'x'"),
        ("_base_ = 'mine.py'", 'inherits from itself'),
        ("_base_ = 'circle.py'", 'inherits from itself'),
        ("_base_ = 'neighbour.py'\nx = dict(y=1)", 'cannot inherit from base because x is a dict in the child'),
        ('with read_base():\n    from .neighbour import *', "inherit with _base_ = 'FILE'"),
        ("work_dir = '{{ fileBasenameNoExtension }}'", 'texts in double braces are not filled in'),
        ("x = '{{$HOME:nothing}}'", 'texts in double braces are not filled in'),
    ],
)
def test_a_base_that_cannot_be_meant_is_one_line(text, told, tmp_path):
    (tmp_path / 'neighbour.py').write_text('x = 1\n')
    (tmp_path / 'other.py').write_text('x = 2\n')
    (tmp_path / 'circle.py').write_text("_base_ = 'mine.py'\n")
    (tmp_path / 'mine.py').write_text(f'{text}\n')
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / 'mine.py')
    assert told in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('', "no config file ''"),
        ('.', "'.' is a folder"),
        ('-', "no config file '-'"),
        ('x.p', 'did you mean'),
        ('digits', '/digits/'),
        ('resnet20_smal', "'classification/cifar10/resnet20_small.py'"),
        ('classification/digits', 'is a folder, which holds '),
        ('a\0b', 'no config file'),
        ('~a\0b', 'no config file'),
        ('a' * 5000, 'no config file'),
        ('a/' * 3000, 'no config file'),
        ('\udcff\udcfe.py', 'no config file'),
        ('~nobody-of-that-name/x.py', 'no config file'),
    ],
)
def test_a_name_of_no_recipe_is_one_short_line(name, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        config_path(name)
    assert told in str(caught.value)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 400, 'names the nearest, not all'


def test_what_is_shipped_is_below_configs():
    assert config_path(NAME).is_relative_to(configs_dir())


def test_a_set_becomes_a_list_in_order(tmp_path):
    """The order of a set is another one in every process: a recipe's hash and its copy in a run would be too."""
    (tmp_path / 'mine.py').write_text("sites = {'layer2', '', 'layer1'}\ninside = dict(x=[{2, 1}])\n")
    cfg = load_config(tmp_path / 'mine.py')
    assert cfg.to_dict() == {'sites': ['', 'layer1', 'layer2'], 'inside': {'x': [[1, 2]]}}
