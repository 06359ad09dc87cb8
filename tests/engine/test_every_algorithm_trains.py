"""Train every algorithm with `tools/train.py`: killed and resumed, in two processes, and compiled."""

from __future__ import annotations

import json
import os
import signal

import kill_and_resume as harness
import pytest
import sklearn.datasets  # noqa: F401  once, for all that is forked
import torch._dynamo  # noqa: F401
from algorithm_cases import ALGORITHMS, write_boxes
from mmengine.registry import init_default_scope

from openmix.config import load_config
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.checkpoint_folder import checkpoints_in
from openmix.engine.launch import prepare
from openmix.memory import SampleMemory
from openmix.registry import MODELS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
every_algorithm = pytest.mark.parametrize('name', ALGORITHMS)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Write a folder of images such that the last batch of a training epoch is incomplete."""
    folder = tmp_path_factory.mktemp('data') / 'images'
    harness.write_images(folder, per_class=7)
    write_boxes(folder.with_name('boxes'))
    return folder


@pytest.fixture(scope='module')
def recipes(images):
    """Return the recipe of every algorithm, and the folder of its finished run in one process."""
    found = {}

    def recipe_of(name):
        if name not in found:
            folder = images.parent / name
            folder.mkdir()
            recipe = folder / 'recipe.py'
            recipe.write_text(ALGORITHMS[name].text(images))
            harness.finish(recipe, folder / 'alone')
            found[name] = recipe
        return found[name]

    return recipe_of


@every_algorithm
def test_killed_and_resumed(recipes, tmp_path, name):
    """Suspended after three iterations and ended there by a signal that it can hear, then by one that it cannot."""
    recipe, run = recipes(name), tmp_path / 'run'
    (child,) = harness.start(recipe, run, stops_before=3)
    harness.wait_until_stopped([child])
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    assert harness.wait([child], harness.SECONDS) == [143], harness.log_of(run)
    assert harness.log_of(run).strip().endswith('--resume')
    (child,) = harness.start(recipe, run, options=['--resume'], stops_before=7)
    harness.wait_until_stopped([child])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert checkpoints_in(run)
    harness.finish(recipe, run, options=['--resume'])
    assert harness.differences(recipe.parent / 'alone', run) == []


def initial_rows(recipe):
    """Return the initial value of the rows of every memory, by the key of its rows."""
    init_default_scope('openmix')
    model = MODELS.build(prepare(load_config(recipe)).model)
    return {f'{name}.rows': part.fill for name, part in model.named_modules() if isinstance(part, SampleMemory)}


@every_algorithm
def test_two_processes(recipes, tmp_path, name):
    """They measure every image once, and are killed and resumed as one is."""
    recipe = recipes(name)
    harness.finish(recipe, tmp_path / 'alone', 2)
    by_one, by_two = (
        json.loads((run / 'result.json').read_text()) for run in (recipe.parent / 'alone', tmp_path / 'alone')
    )
    # What one process remembers of an image that the other saw.
    state = read_checkpoint(next((tmp_path / 'alone').glob('epoch_*.pth')))['state_dict']
    remembered = [key for key in state if key.endswith('.rows')]
    fills = initial_rows(recipe) if remembered else {}
    for key in remembered:
        assert state[key].ne(fills[key]).view(len(state[key]), -1).any(1).all()
    counts = {key: value for key, value in by_one['metrics'].items() if key.endswith('/count')}
    assert counts == {key: by_two['metrics'][key] for key in counts}
    children = harness.start(recipe, tmp_path / 'run', 2, stops_before=2)
    harness.wait_until_stopped(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    harness.finish(recipe, tmp_path / 'run', 2, harness.resume_options(tmp_path / 'run'))
    assert harness.differences(tmp_path / 'alone', tmp_path / 'run') == []


@every_algorithm
def test_compiled(recipes, tmp_path, name):
    """A backbone whose operations are called one by one as before trains to the same bits."""
    recipe = recipes(name)
    harness.finish(recipe, tmp_path / 'run', options=['--compile', 'eager'])
    assert 'The backbone is compiled' in harness.log_of(tmp_path / 'run')
    assert harness.differences(recipe.parent / 'alone', tmp_path / 'run') == ['result: .config_hash']
