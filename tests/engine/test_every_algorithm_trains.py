"""Train every algorithm with `tools/train.py`: killed and resumed, in two processes, and compiled."""

from __future__ import annotations

import json
import os
import shutil
import signal

import kill_and_resume as harness
import pytest
import sklearn.datasets  # noqa: F401  once, for all that is forked
import torch
from algorithm_cases import ALGORITHMS, write_boxes
from mmengine.registry import init_default_scope
from nursery import read_declarations

from openmix.config import load_config
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.checkpoint_folder import checkpoints_in
from openmix.engine.launch import prepare
from openmix.memory import SampleMemory
from openmix.registry import MODELS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
every_algorithm = pytest.mark.parametrize('name', ALGORITHMS)


@pytest.fixture(scope='module', autouse=True)
def ready():
    """Read and import once what every forked training would: the compiler imports most at its first call."""
    read_declarations()
    # Before the compiler adds devices: autograd would start threads for them, and forbid a backward pass after a fork.
    torch.ones(1, requires_grad=True).sum().backward()
    first = torch.nn.Linear(1, 1)
    first.compile(backend='eager')
    first(torch.zeros(1, 1))
    torch._dynamo.reset()


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
    assert harness.saved(recipe.parent / 'alone') > 7, 'too short to be stopped: give smaller batches or more images'
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
    """They measure every image once, and are resumed from what a kill would have left on the disk."""
    recipe, run, alone = recipes(name), tmp_path / 'run', tmp_path / 'alone'
    children = harness.start(recipe, run, 2, stops_before=2)
    harness.wait_until_stopped(children)
    shutil.copytree(run, tmp_path / 'left')
    for child in children:
        os.kill(child, signal.SIGCONT)
    assert harness.wait(children, harness.SECONDS) == [0, 0], harness.log_of(run)
    # So no path that was noted in the copy leads into the finished run.
    run.rename(alone)
    (tmp_path / 'left').rename(run)
    by_one, by_two = (json.loads((of / 'result.json').read_text()) for of in (recipe.parent / 'alone', alone))
    # What one process remembers of an image that the other saw.
    state = read_checkpoint(next(alone.glob('epoch_*.pth')))['state_dict']
    remembered = [key for key in state if key.endswith('.rows')]
    fills = initial_rows(recipe) if remembered else {}
    for key in remembered:
        assert state[key].ne(fills[key]).view(len(state[key]), -1).any(1).all()
    counts = {key: value for key, value in by_one['metrics'].items() if key.endswith('/count')}
    assert counts == {key: by_two['metrics'][key] for key in counts}
    assert not (run / 'result.json').exists()
    harness.finish(recipe, run, 2, harness.resume_options(run))
    assert harness.differences(alone, run) == []


@every_algorithm
def test_compiled(recipes, tmp_path, name):
    """A backbone whose operations are called one by one as before trains to the same bits."""
    recipe = recipes(name)
    harness.finish(recipe, tmp_path / 'run', options=['--compile', 'eager'])
    assert 'The backbone is compiled' in harness.log_of(tmp_path / 'run')
    assert harness.differences(recipe.parent / 'alone', tmp_path / 'run') == ['result: .config_hash']
