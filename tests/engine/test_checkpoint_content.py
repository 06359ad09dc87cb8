"""A checkpoint with any content resumes, or gives one error line before any part of it is loaded."""

import copy
import random
from collections import Counter
from pathlib import Path

import kill_and_resume as harness
import pytest
import torch
from mutations import MUTANTS

from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.checkpoint import Checkpoint, check_weights, read_checkpoint
from openmix.engine.loops import trim_history
from openmix.engine.resume import restore
from openmix.engine.runner import Runner
from openmix.errors import InputError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Build a runner with all its parts, and the content of a checkpoint that a run of its recipe wrote."""
    folder = tmp_path_factory.mktemp('run')
    harness.write_images(folder / 'images', per_class=6)
    recipe = harness.write_recipe(folder, folder / 'images', 'dict(max_epochs=1)')
    recipe.write_text(
        recipe.read_text().replace('num_workers=2', 'num_workers=0').replace('persistent_workers=True,', '')
    )
    cfg = launch.prepare(load_config(recipe))
    cfg.work_dir = str(folder / 'work')
    launch.train(copy.deepcopy(cfg))
    path = folder / 'work/epoch_1.pth'
    cfg.resume, cfg.load_from = True, str(path)
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.call_hook('before_run')
    return runner, read_checkpoint(path), path


def places(node, at=()):
    """List every place in a nested content, as the keys that lead to it."""
    yield at
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


POISON = [
    *(None, -1, 0, 2**70, True, 1.5, float('nan'), 'x', '', b'x', [], {}, [1], {'a': 1}, {3: torch.ones(2)}),
    *(torch.tensor(3), torch.ones(5, 7), torch.ones(2, dtype=torch.complex64), torch.ones(0), (1, 2)),
]


def mutate(content, rng):
    """Change or remove one value; few places are near the top, so those are chosen as often as deep ones."""
    everywhere = [at for at in places(content) if at]
    depth = rng.choice([1, 2, 3, 4, 5])
    at = rng.choice([at for at in everywhere if len(at) == min(depth, max(map(len, everywhere)))])
    node = content
    for key in at[:-1]:
        node = node[key]
    if rng.random() < 0.15:
        del node[at[-1]]
    elif rng.random() < 0.1 and isinstance(node, dict):
        node[rng.choice([3, 'more', None])] = rng.choice(POISON)
    else:
        node[at[-1]] = rng.choice(POISON)
    return at


def weights_now(runner):
    return {key: value.numpy().tobytes() for key, value in runner.model.state_dict().items()}


def one_step(runner):
    """Train one step: forward and backward pass, optimiser, schedules and logs."""
    trim_history(runner.message_hub.log_scalars, 2)
    batch = next(iter(runner.train_dataloader))
    runner.model.train()
    for _ in range(2):  # gradients accumulate over two
        outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
    for scheduler in runner.param_schedulers:
        scheduler.step()
    runner.message_hub.update_scalar('train/loss', float(outputs['loss'].detach()))
    for buffer in runner.message_hub.log_scalars.values():
        buffer.mean(1)


@pytest.mark.slow
def test_any_content_goes_on_or_is_one_line(trained):
    runner, content, path = trained
    whole = copy.deepcopy(content)
    restore(runner, Checkpoint.parse(copy.deepcopy(whole), path))
    runner.optim_wrapper.initialize_count_status(runner.model, 0, 10**9)
    one_step(runner)
    rng, outcomes, broken = random.Random(0), Counter(), []
    for _ in range(MUTANTS):
        content = copy.deepcopy(whole)
        at = mutate(content, rng)
        before = weights_now(runner)
        try:
            restore(runner, Checkpoint.parse(content, path))
            outcomes['goes on'] += 1
            one_step(runner)
        except InputError as error:
            outcomes['refused'] += 1
            if '\n' in str(error) or weights_now(runner) != before:
                broken.append((at, error))
        except Exception as error:
            broken.append((at, error))
    assert not broken, Counter(f'{at[:3]}: {type(error).__name__} {error}'[:200] for at, error in broken).most_common(
        30
    )
    assert min(outcomes.values()) > MUTANTS // 10, outcomes


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ({'state_dict': 3}, 'its state_dict is a int, not a state dict'),
        ({'state_dict': {'w': 'x'}}, "it holds a str under 'w' of its state_dict"),
        ({'state_dict': {3: torch.ones(1)}}, 'it holds a Tensor under 3 of its state_dict'),
        ({'state_dict': {}, 'ema_state_dict': []}, 'its ema_state_dict is a list'),
        ({'state_dict': {}, 'meta': 'x'}, 'its meta is a str, not a mapping'),
        ({'state_dict': {}, 'meta': {'iter': -1}}, "'iter' of its meta is -1"),
        ({'state_dict': {}, 'meta': {'epoch': True}}, "'epoch' of its meta is True"),
        ({'state_dict': {}, 'meta': {'seed': 2**70}}, "'seed' of its meta"),
        ({'state_dict': {}, 'meta': {'resolved_recipe': 'x'}}, "'resolved_recipe' of its meta"),
        ({'meta': {}}, "it holds a dict under 'meta' of its state_dict"),
    ],
)
def test_the_door_names_the_part(tmp_path, content, said):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(InputError) as caught:
        read_checkpoint(tmp_path / 'a.pth')
    assert said in str(caught.value)
    assert str(tmp_path / 'a.pth') in str(caught.value)


def test_weights_of_another_kind_of_number_are_refused():
    own = {'w': torch.ones(2)}
    with pytest.raises(InputError, match=r"'w' is of torch\.int64, not torch\.float32"):
        check_weights(own, {'w': torch.ones(2, dtype=torch.int64)}, Path('a.pth'))
    check_weights(own, {'w': torch.ones(2, dtype=torch.float16)}, Path('a.pth'))
