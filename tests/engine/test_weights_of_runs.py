"""What of a file a run starts from, whose seed it records, and what a resumed run needs of it."""

import json
import shutil

import kill_and_resume as harness
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from openmix.config import load_config
from openmix.config_hash import config_hash
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.initial_weights import InitialWeights
from openmix.engine.launch import fill_from_data
from openmix.errors import InputError
from openmix.registry import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def weights(alone):
    """The last checkpoint of a finished run."""
    return alone / 'epoch_2.pth'


def result(folder):
    return json.loads((folder / 'result.json').read_text())


def built(recipe):
    init_default_scope('openmix')
    return MODELS.build(fill_from_data(load_config(recipe)).model)


def starting(recipe, **weights):
    return Config({**load_config(recipe).to_dict(), 'weights': weights})


def with_meta(path, to, **meta):
    """Write a checkpoint again, to another file, with other entries in its meta; None takes one out."""
    content = torch.load(path, weights_only=False)
    merged = {**content['meta'], **meta}
    content['meta'] = {key: value for key, value in merged.items() if value is not None}
    torch.save(content, to)
    return to


def test_the_seed_of_the_weights_is_recorded_and_taken_where_none_is_given(recipe, weights, tmp_path, nursery):
    run = config_hash(load_config(recipe))
    mine = recipe.with_name('second.py')
    unseeded = f'{recipe.read_text()}\nrandomness = dict(seed=None)\n'
    mine.write_text(f"{unseeded}weights = dict(run='{run}')\n")
    done = nursery.run(['train.py', mine, '--work-dir', tmp_path / 'none', '--weights', weights])
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / 'none')['seed'] == result(tmp_path / 'none')['weights']['seed'] == 7
    unknown = with_meta(weights, tmp_path / 'unknown.pth', seed=None)
    with pytest.raises(InputError, match='does not tell the seed of its run'):
        InitialWeights.read(unknown).put_into(starting(recipe, run=run), None)
    other = ('--weights', str(weights), '--seed', '123')
    assert 'is of seed 7, and' in harness.said(mine, tmp_path / 'other', *other, code=2)
    mine.write_text(f"{recipe.read_text()}\nweights = dict(run='{run}', seed=7)\n")
    harness.said(mine, tmp_path / 'own', *other)
    assert (result(tmp_path / 'own')['seed'], result(tmp_path / 'own')['weights']['seed']) == (123, 7)


def test_a_resumed_run_needs_no_file_if_its_recipe_names_the_run(recipe, weights, tmp_path):
    run = config_hash(load_config(recipe))
    mine = recipe.with_name('named.py')
    mine.write_text(recipe.read_text() + f"\nweights = dict(run='{run}')\n")
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    harness.said(mine, whole, '--weights', str(weights))
    # The same run trained again: the same tensors in another file.
    again = with_meta(weights, tmp_path / 'again.pth', time='20990101_000000')
    assert InitialWeights.read(again).digest != InitialWeights.read(weights).digest
    for options in ([], ['--weights', str(again)]):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(whole, broken)
        (broken / 'result.json').unlink()
        harness.said(mine, broken, '--resume', *options)
        assert result(broken)['weights'] == result(whole)['weights']
        assert result(broken)['config_hash'] == result(whole)['config_hash']
    mine.write_text(recipe.read_text() + f"\nweights = dict(run='{run}', seed=7)\n")
    printed = harness.said(mine, broken, '--resume', code=2)
    assert f'began from the weights of run {run}, not the weights of run {run} of seed 7' in printed


@pytest.mark.parametrize(
    ('start', 'line'),
    [
        ('dict(seed=3)', 'weights names nothing to start from; give it run or file'),
        ("dict(seed=3, file='0')", 'weights.seed is that of weights.run, which is not given'),
        ("dict(data='0', file='0')", 'weights.data is that of weights.run, which is not given'),
        ('dict(run=3)', 'weights.run must be text, got 3'),
        ("'x.pth'", "weights must be a dict or None, got 'x.pth'"),
    ],
)
def test_what_a_recipe_starts_from_is_said_or_refused(start, line, recipe, tmp_path):
    mine = recipe.with_name('wrong.py')
    mine.write_text(recipe.read_text() + f'\nweights = {start}\n')
    printed = harness.said(mine, tmp_path / 'run', code=2)
    assert f'the recipe: {line}' in printed


def test_a_recipe_with_a_file_as_its_weights_is_one_line_with_the_option_too(recipe, weights, tmp_path):
    mine = recipe.with_name('path.py')
    mine.write_text(recipe.read_text() + "\nweights = 'x.pth'\n")
    printed = harness.said(mine, tmp_path / 'run', '--weights', str(weights), code=2)
    assert "the recipe: weights must be a dict with run or file, got 'x.pth'" in printed
    mine.write_text(recipe.read_text() + '\nweights = dict(seed=3)\n')
    printed = harness.said(mine, tmp_path / 'run', '--weights', str(weights), code=2)
    assert 'weights.seed is that of weights.run, which is not given' in printed


LEARNED = """
model = dict(policy=dict(_delete_=True, type='AutoMix', site='layer2'))
"""


def test_the_backbone_that_a_run_was_judged_by_is_taken(recipe, tmp_path):
    mine = recipe.with_name('learned.py')
    mine.write_text(f"_base_ = ['{recipe}']\n{LEARNED}")
    harness.said(mine, tmp_path / 'learned')
    last = tmp_path / 'learned' / 'epoch_2.pth'
    content = read_checkpoint(last)['state_dict']
    given = InitialWeights.read(last)
    assert given.part == 'policy.encoder.backbone'
    model = built(recipe)
    line = given.load(model)
    own = model.backbone.state_dict()
    assert all(torch.equal(own[key], content[f'policy.encoder.backbone.{key}']) for key in own)
    assert any(not torch.equal(own[key], content[f'backbone.{key}']) for key in own)
    assert 'tensors of the backbone policy.encoder.backbone from' in line
    assert line.endswith('left in it: backbone, head, policy')
    harness.said(recipe, tmp_path / 'next', '--weights', str(last))
    assert result(tmp_path / 'next')['weights']['part'] == 'policy.encoder.backbone'
    old = with_meta(last, tmp_path / 'old.pth', judged=None)
    with pytest.raises(InputError, match=r'two backbones, backbone and policy\.encoder\.backbone, and'):
        InitialWeights.read(old)


def test_hooks_that_are_not_known_here_do_not_matter(recipe, weights, tmp_path):
    run = config_hash(load_config(recipe))
    foreign = torch.load(weights, weights_only=False)
    foreign['meta']['resolved_recipe']['custom_hooks'].append({'type': 'UsersOwnHook'})
    torch.save(foreign, tmp_path / 'foreign.pth')
    cfg = starting(recipe, run=run)
    InitialWeights.read(tmp_path / 'foreign.pth').put_into(cfg, 7)
    assert cfg.weights.run == run
