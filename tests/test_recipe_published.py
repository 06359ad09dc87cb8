"""`published` in a recipe: inherited, checked, applied by the variant alone, and no part of hash or file."""

import json

import pytest

from openmix.config import load_config, with_published
from openmix.config_hash import config_hash, diff
from openmix.errors import InputError
from openmix.provenance import provenance
from openmix.recipe_published import published_of

DIGITS = 'classification/digits/resnet20.py'
BASE = f"""
_base_ = '{DIGITS}'
published = {{'param_scheduler.0.convert_to_iter_based': False, 'optim_wrapper.optimizer.weight_decay': 1e-3}}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name='mine.py'):
        path = tmp_path / name
        path.write_text(text)
        return path

    write(BASE, 'base.py')
    return write


def test_a_plain_recipe_is_as_if_it_were_not_there(write):
    mine, plain = load_config(write(BASE)), load_config(DIGITS)
    assert config_hash(mine) == config_hash(plain)
    assert diff(plain, mine) == []
    assert 'published' not in mine
    assert 'published' not in mine.pretty_text


def test_the_variant_applies_it_below_options(write):
    mine = write(BASE)
    cfg = load_config(mine, published=True)
    assert cfg.param_scheduler[0].convert_to_iter_based is False
    assert cfg.optim_wrapper.optimizer.weight_decay == 1e-3
    assert config_hash(cfg) != config_hash(load_config(mine))
    over = load_config(mine, {'optim_wrapper.optimizer.weight_decay': 2e-3}, published=True)
    assert over.optim_wrapper.optimizer.weight_decay == 2e-3
    assert over.param_scheduler[0].convert_to_iter_based is False


SCHEDULE = {'param_scheduler.0.convert_to_iter_based': False}
DECAY = {'optim_wrapper.optimizer.weight_decay': 1e-3}


@pytest.mark.parametrize(
    ('text', 'left'),
    [
        ('', SCHEDULE | DECAY),
        ("published = {'train_cfg.max_epochs': 9}", SCHEDULE | DECAY | {'train_cfg.max_epochs': 9}),
        ("published = {'optim_wrapper.optimizer.weight_decay': 7.0}", {**SCHEDULE, next(iter(DECAY)): 7.0}),
        ('published = dict(_delete_=True)', {}),
        ("published = {'_delete_': True, 'train_cfg.max_epochs': 9}", {'train_cfg.max_epochs': 9}),
        # What the file itself states is no longer what its base meant.
        ('optim_wrapper = dict(optimizer=dict(weight_decay=5e-3))', SCHEDULE),
        ('optim_wrapper = dict(optimizer=dict(lr=0.3))', SCHEDULE | DECAY),
        ("optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW'))", SCHEDULE),
        ("param_scheduler = [dict(type='StepLR', step_size=3)]", DECAY),
    ],
)
def test_it_is_inherited_but_for_what_a_file_states_itself(write, text, left):
    cfg = load_config(write(f"_base_ = 'base.py'\n{text}\n"))
    assert published_of(cfg) == left
    with_published(cfg)


def test_two_bases_may_have_different_settings(write):
    write(
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=1.0))\npublished = {'optim_wrapper.optimizer.lr': 2.0}",
        'a.py',
    )
    write("train_cfg = dict(max_epochs=1)\npublished = {'train_cfg.max_epochs': 2}", 'b.py')
    cfg = load_config(write("_base_ = ['a.py', 'b.py']"), published=True)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.train_cfg.max_epochs) == (2.0, 2)
    write("val_cfg = dict()\npublished = {'train_cfg.max_epochs': 2}", 'c.py')
    with pytest.raises(InputError, match=r"two files of _base_ set 'train_cfg.max_epochs' in published"):
        load_config(write("_base_ = ['a.py', 'b.py', 'c.py']"))


def test_a_yaml_recipe_has_it_too(write):
    mine = write(f'_base_: {DIGITS}\npublished: {{train_cfg.max_epochs: 9}}\n', 'mine.yaml')
    assert load_config(mine).train_cfg.max_epochs == 15
    assert load_config(mine, published=True).train_cfg.max_epochs == 9


@pytest.mark.parametrize(
    ('published', 'told'),
    [
        ('3', r'published must be a dict of dotted keys, .* got 3'),
        ("{'train_cgf.max_epochs': 9}", r"'train_cgf' is not in the recipe; did you mean 'train_cfg'"),
        ("{'param_scheduler.1.eta_min': 0.1}", r"'1' is not in param_scheduler; "),
        ("{'sync_bnn': 'naive'}", r"published sets 'sync_bnn', which nothing reads; did you mean 'sync_bn'"),
        ("{'custom_imports.imports': ['os']}", 'what a recipe imports is written in a Python recipe'),
    ],
)
def test_a_wrong_key_is_told_when_the_recipe_is_loaded(write, published, told):
    with pytest.raises(InputError, match=told) as error:
        load_config(write(f"_base_ = '{DIGITS}'\npublished = {published}\n"))
    assert '\n' not in str(error.value)
    assert 'mine.py' in str(error.value)


def test_a_setting_that_no_recipe_states_may_be_added(write):
    mine = write(f"_base_ = '{DIGITS}'\npublished = dict(sync_bn='naive')\n")
    assert 'sync_bn' not in load_config(mine)
    assert load_config(mine, published=True).sync_bn == 'naive'


def test_print_config_shows_what_the_variant_changes(write, nursery):
    mine = write(BASE + "model = dict(policy=dict(type='CutMix'))\n")
    done = nursery.run(['print_config.py', mine, '--variant', 'published', '--diff', mine])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "+ model.policy.share = 'batch'",
        '- optim_wrapper.optimizer.weight_decay = 0.0005',
        '+ optim_wrapper.optimizer.weight_decay = 0.001',
        '- param_scheduler.0.convert_to_iter_based = True',
        '+ param_scheduler.0.convert_to_iter_based = False',
    ]
    wrong = write(f"_base_ = '{DIGITS}'\npublished = {{'param_scheduler.0.convert_to_iter_basd': False}}\n")
    done = nursery.run(['print_config.py', wrong, '--variant', 'published'])
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "did you mean 'convert_to_iter_based'" in done.stderr
    assert 'published param_scheduler.0.convert_to_iter_basd' in done.stderr


@pytest.mark.slow
def test_train_takes_the_variant(write, tmp_path, nursery):
    small = 'train_dataloader = dict(dataset=dict(subset=64))\nval_dataloader = dict(dataset=dict(subset=32))\n'
    mine = write(BASE + small + 'train_cfg = dict(max_epochs=3)\nvis_backends = []\n')
    seen = {}
    for variant in ('corrected', 'published'):
        work_dir = tmp_path / variant
        done = nursery.run(['train.py', mine, '--variant', variant, '--work-dir', work_dir])
        assert done.returncode == 0, done.stderr
        result = json.loads((work_dir / 'result.json').read_text())
        told = load_config(mine, published=variant == 'published')
        assert result['config_hash'] == provenance(told).digest
        cfg = load_config(work_dir / 'mine.py')
        seen[variant] = cfg.optim_wrapper.optimizer.weight_decay
        assert published_of(cfg) == {}
    assert seen == {'corrected': 5e-4, 'published': 1e-3}
