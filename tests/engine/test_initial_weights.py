"""A warm start from a file loads only the backbone's weights, records the file, and is resumed with the same file."""

import json
import os
import shutil
import signal

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
from openmix.provenance import data_fingerprint
from openmix.registry import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def weights(alone):
    """Return the last checkpoint of a finished run with a moving average."""
    return alone / 'epoch_2.pth'


@pytest.fixture(scope='module')
def started(recipe, weights):
    """Return the folder and the output of a finished run that started from these weights."""
    folder = recipe.parent / 'started'
    return folder, harness.said(recipe, folder, '--weights', str(weights))


def result(folder):
    return json.loads((folder / 'result.json').read_text())


def built(recipe):
    init_default_scope('openmix')
    model = fill_from_data(load_config(recipe)).model
    return MODELS.build(model)


def test_the_averaged_backbone_is_taken_and_nothing_else(recipe, weights):
    model = built(recipe)
    head = {key: value.clone() for key, value in model.head.state_dict().items()}
    line = InitialWeights.read(weights).load(model)
    content = read_checkpoint(weights)
    own = model.state_dict()
    taken = [key for key in own if key.startswith('backbone.')]
    assert taken
    assert all(torch.equal(own[key], content['state_dict'][key]) for key in taken)
    assert any(not torch.equal(own[key], content['ema_state_dict'][f'module.{key}']) for key in taken)
    assert all(torch.equal(value, head[key]) for key, value in model.head.state_dict().items())
    assert f'Took the {len(taken)} tensors of the backbone from {weights}' in line
    assert line.endswith('left in it: head')


def test_a_run_says_what_it_started_from(started, alone, weights):
    folder, printed = started
    digest = InitialWeights.read(weights).digest
    assert printed.count('tensors of the backbone from') == 1
    assert f'({digest}); left in it: head' in printed
    assert result(folder)['weights'] == {'file': digest, 'part': 'backbone', 'seed': 7}
    assert 'weights' not in result(alone)
    assert result(folder)['config_hash'] != result(alone)['config_hash']
    assert result(folder)['history'] != result(alone)['history']


def test_the_place_of_the_file_does_not_count(started, recipe, weights, tmp_path):
    copy = shutil.copy(weights, tmp_path / 'renamed.pth')
    harness.said(recipe, tmp_path / 'run', '--weights', str(copy))
    assert not harness.differences(tmp_path / 'run', started[0])


def test_a_killed_run_goes_on_without_loading_again(started, recipe, weights, tmp_path):
    options = ('--weights', str(weights))
    children = harness.start(recipe, tmp_path / 'run', options=options, stops_before=4)
    harness.wait_until_stopped(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    printed = harness.said(recipe, tmp_path / 'run', *options, '--resume')
    assert 'Resumed after iteration' in printed
    assert 'tensors of the backbone from' not in printed
    assert not harness.differences(tmp_path / 'run', started[0])


def test_two_processes_start_from_the_same(recipe, weights, tmp_path):
    harness.finish(recipe, tmp_path / 'run', processes=2, options=['--weights', str(weights)])
    assert 'tensors of the backbone from' in (tmp_path / 'run.rank0.log').read_text()
    assert result(tmp_path / 'run')['weights']['file'] == InitialWeights.read(weights).digest


def test_other_weights_are_refused_where_a_run_goes_on(started, recipe, weights, tmp_path):
    run = shutil.copytree(started[0], tmp_path / 'run')
    other = str(shutil.copy(started[0] / 'epoch_2.pth', tmp_path / 'other.pth'))
    printed = harness.said(recipe, run, '--weights', other, '--resume', code=2)
    assert 'is of a run that began from the weights' in printed
    assert "give the same --weights, or set weights=dict(file='" in printed
    assert 'not none: give the same --weights' in harness.said(recipe, run, '--resume', code=2)


def test_weights_are_refused_where_a_run_goes_on_that_began_without(alone, recipe, weights, tmp_path):
    run = shutil.copytree(alone, tmp_path / 'run')
    printed = harness.said(recipe, run, '--weights', str(weights), '--resume', code=2)
    assert 'leave out --weights with --resume' in printed


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (['--weights', 'nowhere.pth'], "no file of weights 'nowhere.pth'; check the path"),
        (
            ['--weights', '{weights}', '--cfg-options', 'load_from={weights}'],
            'both say what the run starts from; leave out one',
        ),
        (
            ['--weights', '{weights}', '--cfg-options', 'model.backbone.width=4'],
            "'backbone.conv1.weight' is (8, 3, 3, 3), not (4, 3, 3, 3)",
        ),
        (['--weights', '{weights}', '--cfg-options', 'model.backbone.depth=14'], "missing 'backbone.layer1.1."),
        (['--weights', '{recipe}'], 'is not a checkpoint'),
    ],
)
def test_what_does_not_fit_is_one_line(options, line, recipe, weights, tmp_path):
    words = [word.format(weights=weights, recipe=recipe) for word in options]
    printed = harness.said(recipe, tmp_path / 'run', *words, code=2)
    assert line in printed
    assert len([said for said in printed.splitlines() if said.startswith('error: ')]) == 1


def test_a_plain_state_dict_is_a_backbones(recipe, tmp_path):
    model = built(recipe)
    torch.save(model.backbone.state_dict(), tmp_path / 'plain.pth')
    other = built(recipe)
    line = InitialWeights.read(tmp_path / 'plain.pth').load(other)
    assert 'left in it' not in line
    assert all(torch.equal(a, b) for a, b in zip(other.backbone.parameters(), model.backbone.parameters(), strict=True))
    torch.save({'model': {f'module.{k}': v for k, v in model.state_dict().items()}}, tmp_path / 'parallel.pth')
    assert InitialWeights.read(tmp_path / 'parallel.pth').load(other).endswith('left in it: head')
    torch.save(model.head.state_dict(), tmp_path / 'head.pth')
    with pytest.raises(InputError, match=r"missing 'backbone\.conv1\.weight'"):
        InitialWeights.read(tmp_path / 'head.pth').load(other)
    whole = {**model.backbone.state_dict(), **{f'fc.{k}': v for k, v in model.head.state_dict().items()}}
    torch.save(whole, tmp_path / 'whole.pth')
    with pytest.raises(InputError, match=r"unknown 'backbone\.fc\."):
        InitialWeights.read(tmp_path / 'whole.pth').load(other)


CO_TUNING = ['model.type=CoTuning', 'model.source={of_weights: True, num_classes: 3}', 'model.relationship=direct']


def test_an_algorithm_may_take_the_head_too(recipe, weights, tmp_path):
    printed = harness.said(recipe, tmp_path / 'run', '--weights', str(weights), '--cfg-options', *CO_TUNING)
    (line,) = [line for line in printed.splitlines() if 'tensors of the backbone' in line]
    assert 'of the backbone and its head from' in line
    assert 'left in it' not in line
    printed = harness.said(recipe, tmp_path / 'other', '--cfg-options', *CO_TUNING, code=2)
    assert 'the source head is that of the weights that the run starts from, and it starts from none' in printed


@pytest.mark.parametrize('encoder', ['', 'policy.encoder.'])
def test_the_head_of_the_evaluated_network_is_found(tmp_path, encoder):
    state = {'backbone.conv.weight': torch.zeros(2), 'head.fc.weight': torch.zeros(2)}
    head = f'{encoder}heads.head' if encoder else 'head'
    state |= {f'{encoder}backbone.conv.weight': torch.ones(2), f'{head}.fc.weight': torch.full((2,), 3.0)}
    torch.save({'state_dict': state, 'meta': {'judged': f'{encoder}backbone'}}, tmp_path / 'run.pth')
    found = InitialWeights.read(tmp_path / 'run.pth')
    assert found.weights['conv.weight'].tolist() == [1, 1]
    assert {key: value.tolist() for key, value in found.head.items()} == {'head.fc.weight': [3, 3]}


def starting(recipe, **weights):
    return Config({**load_config(recipe).to_dict(), 'weights': weights})


def test_a_recipe_may_name_the_run_that_it_starts_from(recipe, weights, tmp_path):
    run, seed = config_hash(load_config(recipe)), 7
    given = InitialWeights.read(weights)
    assert (given.meta.run, given.meta.seed) == (run, seed)
    cfg = starting(recipe, run=run)
    before = config_hash(cfg)
    given.put_into(cfg, seed)
    # Trained again elsewhere, the same run is in another file.
    assert cfg.weights == {'run': run, 'file': given.digest, 'taken': {'part': 'backbone', 'seed': 7}}
    assert config_hash(cfg) == before
    assert len({config_hash(starting(recipe, run=run, **more)) for more in ({}, {'seed': 1}, {'seed': 2})}) == 3
    for wrong, line in (
        ({'run': '0' * 12}, f'is of run {run}, and the recipe starts from run 000000000000 of seed 7'),
        ({'run': run, 'seed': 3}, f'is of seed 7, and the recipe starts from run {run} of seed 3'),
        ({'file': 'f' * 12}, 'holds other weights than the recipe starts from'),
    ):
        with pytest.raises(InputError, match=line):
            given.put_into(starting(recipe, **wrong), seed)
    halfway = torch.load(weights, weights_only=False)
    halfway['meta']['iter'] = 3
    torch.save(halfway, tmp_path / 'half.pth')
    with pytest.raises(InputError, match=r'is of iteration 3 of 6, and .* finished'):
        InitialWeights.read(tmp_path / 'half.pth').put_into(starting(recipe, run=run), seed)


def test_a_recipe_that_starts_from_weights_is_not_trained_without(recipe, tmp_path):
    inherits = tmp_path / 'linear.py'
    inherits.write_text(f"_base_ = ['{recipe}']\nweights = dict(run='0123456789ab')\n")
    printed = harness.said(inherits, tmp_path / 'run', code=2)
    assert 'the recipe starts from the weights of run 0123456789ab: give them by --weights FILE' in printed
    inherits.write_text(f"_base_ = ['{recipe}']\nweights = dict(rn='0123456789ab')\n")
    assert "the recipe: weights has no 'rn'" in harness.said(inherits, tmp_path / 'run', code=2)


def test_the_data_of_the_run_before_count(recipe):
    alone = data_fingerprint(load_config(recipe))
    assert alone is not None
    assert data_fingerprint(starting(recipe, run='a', data='')) == alone  # that needs no files
    assert data_fingerprint(starting(recipe, run='a')) is None  # nobody knows
    assert data_fingerprint(starting(recipe, run='a', data='b')) not in (None, alone)
