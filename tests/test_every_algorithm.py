"""Test every registered algorithm, and toys of one file each. A new algorithm adds one row to ALGORITHMS.

`tests/engine/test_every_algorithm_trains.py` trains each of them with `tools/train.py`.
"""

from __future__ import annotations

import copy
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from algorithm_cases import ALGORITHMS, write_boxes
from mmengine.dataset import sampler as mm_sampler
from mmengine.optim import OptimWrapper
from registered import registered

from openmix.algorithm import Algorithm
from openmix.benchmark.smoke import shrink
from openmix.config import load_config
from openmix.engine.checkpoint import put_weights, read_checkpoint
from openmix.engine.launch import prepare
from openmix.engine.preflight import try_parts
from openmix.engine.preflight.meta_draws import complete_meta
from openmix.engine.publishing import published_weights
from openmix.engine.runner import Runner
from openmix.engine.seeding import step_seed
from openmix.errors import InputError
from openmix.memory import images_in, memories_in, training_keys
from openmix.overrides import apply_overrides
from openmix.registry import DATASETS, FUNCTIONS, METRICS, MODELS
from openmix.small import small_of

sys.path.append(str(Path(__file__).parent / 'engine'))
from kill_and_resume import write_images

every_algorithm = pytest.mark.parametrize('name', ALGORITHMS)
without_classifier = pytest.mark.parametrize('name', [name for name, case in ALGORITHMS.items() if not case.classifies])


@pytest.fixture(scope='module', autouse=True)
def toys_taken_back():
    """Remove what the toys have registered after these tests, because other tests list the registries."""
    registries = [DATASETS, FUNCTIONS, METRICS, MODELS]
    before = [registered(registry) for registry in registries]
    yield
    for registry, modules in zip(registries, before):
        registry.module_dict.clear()
        registry.module_dict.update(modules)
    for case in ALGORITHMS.values():
        sys.modules.pop(case.module, None)


@pytest.fixture(scope='module')
def recipes(tmp_path_factory):
    """Write the recipe of every algorithm to a file; return the files by name."""
    folder = tmp_path_factory.mktemp('recipes')
    write_images(folder / 'images', per_class=7)
    write_boxes(folder / 'boxes')
    for name, case in ALGORITHMS.items():
        (folder / f'{name}.py').write_text(case.text(folder / 'images'))
    return {name: folder / f'{name}.py' for name in ALGORITHMS}


ALONE = {'num_workers': 0, 'persistent_workers': False}


def settings(recipe, **options):
    """Prepare a recipe, with loaders without workers."""
    parts = [f'{part}_dataloader' for part in ('train', 'val', 'test')]
    options |= {f'{part}.{key}': value for part in parts for key, value in ALONE.items()}
    return prepare(apply_overrides(load_config(recipe), options))


def built(cfg, seed=0):
    """Build the model and optimiser of a run before its first step; return them and the batches of the first epoch."""
    torch.manual_seed(seed)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    loader.dataset.set_epoch(0, 0)
    model = MODELS.build(cfg.model)
    for memory in memories_in(model):
        memory.allocate(images_in(loader.dataset, memory.pool))
    model.read_data(loader.dataset)
    model.start()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    optimizer.register_step_post_hook(lambda *_: model.after_step())
    return model.train(), OptimWrapper(optimizer=optimizer), list(loader)


STEPS = 4  # of a run, whether it is interrupted or not


def train(model, optim, batches, first, last):
    for step in range(first, last):
        torch.manual_seed(step_seed(0, step, 0))
        model.before_step(step, STEPS)
        # A preprocessor may work in place.
        model.train_step(copy.deepcopy(batches[step % len(batches)]), optim)


def loss_of(model, batch):
    return model.parse_losses(model.loss(model.data_preprocessor(batch, training=True)))[0]


def with_no_row():
    """List the registered algorithms of openmix and of the toys that have no row."""
    toys = {case.module for case in ALGORITHMS.values() if case.module}
    for module in toys:
        importlib.import_module(module)
    known = {
        name
        for name, cls in registered(MODELS).items()
        if isinstance(cls, type) and issubclass(cls, Algorithm)
        # Other tests register algorithms of their own.
        if cls.__module__.startswith('openmix.') or cls.__module__ in toys
    }
    assert set(ALGORITHMS) <= known
    return known - set(ALGORITHMS)


def test_every_algorithm_has_a_row():
    assert with_no_row() == set()


def test_one_that_has_none_is_found(monkeypatch):
    new = type('New', (Algorithm,), {'__module__': 'openmix.models.semisup.new'})
    monkeypatch.setitem(MODELS.module_dict, 'New', new)
    assert with_no_row() == {'New'}


@every_algorithm
def test_a_step_at_full_size_on_the_meta_device(recipes, name):
    """Nothing of it stays on the CPU, and nothing asks for values."""
    complete_meta()
    cfg = settings(recipes[name], **ALGORITHMS[name].full)
    dataset = dict(cfg.train_dataloader.dataset)
    example = DATASETS.get(dataset.pop('type')).example(64, **dataset)
    with torch.device('meta'):
        model = MODELS.build(cfg.model).to('meta').train()
    loss = loss_of(model, example)
    assert loss.is_meta
    loss.backward()


@every_algorithm
def test_a_recipe_of_it_is_tried_before_the_run(recipes, name):
    """All of it: nothing is left for the first step to tell."""
    assert try_parts(settings(recipes[name])) == []


@every_algorithm
def test_what_is_trained_has_a_gradient_and_what_is_frozen_has_none(recipes, name):
    model, _, batches = built(settings(recipes[name]))
    for seed in range(8):  # a policy may draw among several
        torch.manual_seed(seed)
        loss_of(model, copy.deepcopy(batches[0])).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.grad is None or parameter.grad.isfinite().all(), key
        assert parameter.grad is None or parameter.grad.any(), key


@every_algorithm
def test_saved_and_loaded_it_goes_on_bit_for_bit(recipes, name):
    cfg = settings(recipes[name])
    alone, its_optim, batches = built(cfg)
    train(alone, its_optim, batches, 0, STEPS)
    first, first_optim, _ = built(cfg)
    train(first, first_optim, batches, 0, 2)
    resumed, resumed_optim, _ = built(cfg, seed=1)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed_optim.load_state_dict(copy.deepcopy(first_optim.state_dict()))
    train(resumed, resumed_optim, batches, 2, STEPS)
    wanted, began = alone.state_dict(), built(cfg)[0].state_dict()
    assert wanted.keys() == resumed.state_dict().keys()
    assert [key for key, value in resumed.state_dict().items() if not torch.equal(value, wanted[key])] == []
    assert any(not torch.equal(value, began[key]) for key, value in wanted.items())


@every_algorithm
def test_every_image_is_answered_once_but_for_what_fills_up_two_processes(recipes, name, monkeypatch):
    cfg = settings(recipes[name])
    model, seen, total = MODELS.build(cfg.model).eval(), [], 0
    for rank in range(2):
        monkeypatch.setattr(mm_sampler, 'get_dist_info', lambda rank=rank: (rank, 2))
        loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
        for batch in loader:
            with torch.no_grad():
                (answer,) = model(**model.data_preprocessor(batch, False), mode='predict')
            assert model.answers <= answer.keys()
            assert all(len(answer[key]) == len(answer['ids']) for key in model.answers)
            seen += answer['ids'].tolist()
        total = len(loader.dataset)
    assert sorted(set(seen)) == list(range(total))
    assert len(seen) == total + total % 2


@every_algorithm
def test_no_tensor_is_saved_under_two_names(recipes, name):
    model, _, _ = built(settings(recipes[name]))
    named: dict[int, str] = {}
    for key, value in model.state_dict().items():
        if value.numel():
            assert named.setdefault(value.data_ptr(), key) == key
    assert len(list(model.named_parameters())) == len(list(model.named_parameters(remove_duplicate=False)))


@every_algorithm
def test_it_names_its_classifiers(recipes, name):
    model, _, _ = built(settings(recipes[name]))
    # A learned policy has its momentum encoder evaluated, and the trained network as 'online'.
    assert set(model.networks()) - {'online'} == ({''} if ALGORITHMS[name].classifies else set())


@every_algorithm
def test_it_is_smoked_as_a_cell_of_a_table(call, tmp_path, name):
    """Without its data, in the size that its class names."""
    case, recipe, table = ALGORITHMS[name], tmp_path / 'recipe.py', tmp_path / 'table.yaml'
    recipe.write_text(case.text(tmp_path / 'no such folder'))
    table.write_text(case.table(recipe))
    code, said, error = call('benchmark.py', 'run', table, '--smoke')
    assert code == 0, said + error
    assert 'Toy / Plain: ok' in said
    cfg = load_config(recipe)
    small = shrink(cfg, lambda dataset: tmp_path)
    for key, value in small_of(MODELS.get(name), cfg.model).items():
        assert small[f'model.{key}'] == value


def refused(call, command, *words):
    code, _, said = call(command, *words)
    assert code == 2, said[-3000:]
    lines = [line for line in said.splitlines() if ' - WARNING - ' not in line]
    assert len(lines) == 1, said
    assert lines[0].startswith('error: ')
    return lines[0]


@without_classifier
def test_a_command_that_needs_a_classifier_refuses_it(recipes, name, call, tmp_path):
    recipe = recipes[name]
    model, _, _ = built(settings(recipe))
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, checkpoint)
    for command, *words in (
        ('export_onnx.py', recipe, checkpoint, '--out', tmp_path / 'network.onnx'),
        ('export_torchscript.py', recipe, checkpoint, '--out', tmp_path / 'network.pt'),
        ('get_flops.py', recipe),
        ('publish_model.py', checkpoint, '--format', 'timm', '--config', recipe, '--out', tmp_path / 'zoo'),
    ):
        assert f'needs a classifier, and {name} trains none' in refused(call, command, *words)
    line = refused(call, 'test.py', recipe, checkpoint, '--ten-crop', '--work-dir', tmp_path / 'test')
    assert f"--ten-crop reads 'logits', and {name} answers '{min(model.answers)}'" in line
    assert not any(tmp_path.glob('network*'))
    assert not (tmp_path / 'zoo').exists()
    code, said, _ = call('publish_model.py', checkpoint, '--out', tmp_path / 'zoo')
    assert code == 0
    assert said.strip().endswith('.pth')


@every_algorithm
def test_its_checkpoint_is_evaluated_and_starts_another_run(recipes, name, call, tmp_path):
    """Whatever it remembers of its training images is left: the other run may have more of them."""
    recipe, case = recipes[name], ALGORITHMS[name]
    model, optim, batches = built(settings(recipe))
    train(model, optim, batches, 0, 2)
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, checkpoint)
    alone = [f'{part}_dataloader.{key}' for part in ('train', 'val', 'test') for key in ALONE]
    alone = [f'{key}={ALONE[key.rpartition(".")[2]]}' for key in alone]
    code, said, error = call('test.py', recipe, checkpoint, '--work-dir', tmp_path / 'test', '--cfg-options', *alone)
    assert code == 0, said + error
    assert case.metric in json.loads(said.splitlines()[-1])
    cfg = settings(recipe, **case.more_images, load_from=str(checkpoint), work_dir=str(tmp_path / 'run'))
    cfg.train_cfg.max_epochs = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    kept = {memory.rows.shape[0] for memory in memories_in(runner.model)}
    assert kept == {images_in(runner.train_dataloader.dataset, m.pool) for m in memories_in(model)}
    published = published_weights(read_checkpoint(tmp_path / 'run' / 'epoch_1.pth'), tmp_path, ema=False)
    assert published.keys() == model.state_dict().keys() - training_keys(model)
    torch.manual_seed(1)
    alone, batch = MODELS.build(cfg.model), next(iter(runner.val_dataloader))
    put_weights(alone, {'state_dict': published}, 'published')
    with torch.no_grad():
        answers = [one.eval().val_step(copy.deepcopy(batch)) for one in (runner.model, alone)]
    torch.testing.assert_close(*answers, rtol=0, atol=0)
    if case.classifies:
        code, said, error = call('export_torchscript.py', recipe, checkpoint, '--out', tmp_path / 'network.pt')
        assert code == 0, said + error


@pytest.mark.parametrize('name', [name for name, case in ALGORITHMS.items() if not case.mixes])
def test_what_looks_at_mixed_images_refuses_what_mixes_none(recipes, name, call, tmp_path):
    if 'branch=' in ALGORITHMS[name].recipe:
        assert call('show_mix.py', recipes[name], '--out', tmp_path / 'mix.png')[0] == 0
    else:
        line = refused(call, 'show_mix.py', recipes[name], '--out', tmp_path / 'mix.png')
        assert f'{name} has none' in line or f'of {name} mixes, and the recipe has none' in line
    cfg = settings(recipes[name], **{'default_hooks.mixed_accuracy': dict(type='MixedAccuracyHook')})
    cfg.work_dir = str(tmp_path / 'run')
    with pytest.raises(InputError, match=f'MixedAccuracyHook: {name} trains no classifier on mixed images'):
        Runner.from_cfg(cfg).train()


@without_classifier
def test_what_measures_a_classifier_refuses_it(recipes, name):
    line = rf"val_evaluator: Accuracy reads 'logits', and {name} answers '\w+'( and '\w+')*; "
    line += 'take a metric that reads what it answers, or set val_cfg = val_dataloader = val_evaluator = None'
    with pytest.raises(InputError, match=line):
        settings(recipes[name], val_evaluator=dict(type='Accuracy', _delete_=True))
    with pytest.raises(InputError, match=line):
        settings(recipes[name], val_evaluator=[dict(type='Accuracy')])
    with pytest.raises(InputError, match=line):
        settings(recipes[name], val_evaluator=dict(metrics=[dict(type='Accuracy')], _delete_=True))
