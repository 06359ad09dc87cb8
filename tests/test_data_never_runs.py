"""YAML recipes, overrides of tables and options never run code, which would create a marker file."""

import os
import pickle
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import timm
import torch

from openmix import registry
from openmix.check import check_recipe
from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.errors import InputError
from openmix.models.backbones.timm_backbone import timm_backbone
from openmix.overrides import apply_overrides
from openmix.recipe_file import DECLARED

ROOT = Path(__file__).parent.parent
DIGITS = 'classification/digits/resnet20.py'
EVIL = (
    "open('marker', 'w').write('ran')\nclass Evil:\n    def __init__(self, *a, **k): open('marker', 'w').write('ran')\n"
)


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Make a folder with importable code that writes a marker file; the code must not run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'evil.py').write_text(EVIL)
    (tmp_path / 'evilpack').mkdir()
    for name in ('__init__', 'registry'):
        (tmp_path / 'evilpack' / f'{name}.py').write_text(EVIL)
    declared = set(DECLARED)
    yield tmp_path
    DECLARED.clear()
    DECLARED.update(declared)
    for name in ('evil', 'evilpack', 'evilpack.registry', 'own'):
        sys.modules.pop(name, None)


COMMAND = "cmd: ['touch', 'marker']"
# What stands in a YAML recipe that inherits from the digits recipe.
RECIPES = [
    'model: {policy: {_delete_: true, type: os.system, command: touch marker}}',
    f'model: {{policy: {{_delete_: true, type: mmengine.utils.call_command, {COMMAND}}}}}',
    'model: {policy: {_delete_: true, type: torch.hub.load, repo_or_dir: ., model: evil, source: local}}',
    'model: {policy: {_delete_: true, type: evil}}',
    'model: {policy: {_delete_: true, type: evil.Evil}}',
    'model: {policy: {_delete_: true, type: evilpack.Evil}}',
    'model: {policy: {_delete_: true, type: NoMix, _scope_: evilpack}}',
    'model: {head: {loss: {_delete_: true, type: evil.Evil}}}',
    'model: {backbone: {_delete_: true, type: evil.Evil}}',
    'model: {data_preprocessor: {augment: [{type: evil.Evil}]}}',
    'model: {type: evil.Evil}',
    'train_dataloader: {dataset: {_delete_: true, type: evil.Evil}}',
    'train_dataloader: {sampler: {_delete_: true, type: evil.Evil}}',
    'train_dataloader: {collate_fn: {_delete_: true, type: evil.Evil}}',
    'train_dataloader: {worker_init_fn: {type: evil.Evil}}',
    'train_dataloader: {batch_sampler: {type: evil.Evil}}',
    'optim_wrapper: {constructor: evil.Evil}',
    'optim_wrapper: {optimizer: {_delete_: true, type: evil.Evil}}',
    'optim_wrapper: {_delete_: true, type: evil.Evil, optimizer: {type: SGD, lr: 1}}',
    'param_scheduler: [{type: evil.Evil}]',
    'custom_hooks: [{type: evil.Evil}]',
    'custom_hooks: [{type: EMAHook, ema_type: evil.Evil}]',
    'default_hooks: {logger: {type: evil.Evil}}',
    'train_cfg: {_delete_: true, type: evil.Evil}',
    'val_cfg: {type: evil.Evil}',
    'val_evaluator: {_delete_: true, type: evil.Evil}',
    'visualizer: {type: evil.Evil}',
    'visualizer: {vis_backends: [{type: evil.Evil}]}',
    'log_processor: {type: evil.Evil}',
    'model_wrapper_cfg: {type: evil.Evil}',
    'runner_type: evil.Evil',
    'default_scope: evilpack',
    'custom_imports: {imports: [evil]}',
    'custom_imports: evil',
    '_base_: evil.py',
    '_base_: [evil.py]',
    'x: !!python/object/apply:os.system [touch marker]',
    'x: !!python/name:evil.Evil',
    "x: '{{ _base_.model }}'",
    'train_dataloader: {dataset: {_delete_: true, type: BaseDataset, ann_file: evil.pkl}}',
    'train_dataloader: {dataset: {_delete_: true, type: ImageFolder, root: data, pipeline: [{type: evil.Evil}]}}',
    'train_dataloader: {dataset: {_delete_: true, type: ImageFolder, root: data, pipeline: '
    '[{type: RandomApply, transforms: [{type: evil.Evil}]}]}}',
    'model: {backbone: {_delete_: true, type: TimmBackbone, name: resnet18, checkpoint_path: evil.pkl}}',
    'model: {backbone: {_delete_: true, type: TimmBackbone, name: resnet18, checkpoint: evil.pkl}}',
    'model: {backbone: {_delete_: true, type: TimmBackbone, name: resnet18, pretrained: true, '
    'pretrained_cfg: {file: evil.pkl}}}',
    'load_from: evil.pkl',
]


def pickled(path: Path) -> None:
    """Return a pickle that runs a command when an unsafe reader loads it."""
    path.write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")


@pytest.mark.parametrize('planted', RECIPES)
def test_a_yaml_recipe_runs_nothing(planted, trap):
    pickled(trap / 'evil.pkl')
    base = '' if planted.startswith('_base_') else f'_base_: {DIGITS}\n'
    (trap / 'mine.yaml').write_text(f'{base}{planted}\n')
    # Read by nothing before the run, and then by what reads checkpoints and weights.
    later = planted.startswith('load_from') or 'checkpoint: evil' in planted or 'pretrained_cfg' in planted
    with nullcontext() if later else pytest.raises(InputError, match=r'^[^\n]+$'):
        prepare(load_config('mine.yaml'))
    assert not (trap / 'marker').exists()
    assert 'evil' not in sys.modules


def test_weights_that_timm_reads_run_nothing(trap, monkeypatch):
    """Also in a release of it that does not ask torch for weights alone."""
    pickled(trap / 'evil.pkl')

    def careless(path, **_):
        return torch.load(path, weights_only=False)

    # The oldest ones have no such function and call torch.load in its place.
    monkeypatch.setattr(timm.models._helpers, '_torch_load', careless, raising=False)
    with pytest.raises((InputError, pickle.UnpicklingError), match=r'weights_only|Weights only'):
        timm_backbone('test_resnet', pretrained=True, pretrained_cfg_overlay={'file': 'evil.pkl'})
    assert not (trap / 'marker').exists()
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


@pytest.mark.parametrize(
    'option',
    [
        {'custom_imports': {'imports': ['evil']}},
        {'custom_imports.imports': ['evil']},
        {'model.policy': {'type': 'evil.Evil', '_delete_': True}},
        {'model.policy._scope_': 'evilpack'},
        {'_base_': 'evil.py'},
        {"x'] = open('marker', 'w'); y['": 1},
    ],
)
def test_an_override_runs_nothing(option, trap):
    with pytest.raises(InputError) as caught:
        check_recipe(load_config(DIGITS, option))
    assert '\n' not in str(caught.value)
    assert not (trap / 'marker').exists()


@pytest.mark.parametrize(
    'name',
    ['os.system', 'os', 'antigravity', 'evil', 'evil.Evil', 'evilpack.Evil', 'torch.nn.Module', 'mmdet.X', '', '.'],
)
def test_no_registry_imports_what_is_named(name, trap):
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    registries += [value for value in vars(registry.mm).values() if isinstance(value, registry.Registry)]
    assert len(registries) > 25
    before = set(sys.modules)
    for one in registries:
        with pytest.raises(InputError):
            one.get(name)
    assert not (trap / 'marker').exists()
    assert not {module for module in set(sys.modules) - before if module.startswith(('evil', 'antigravity', 'mmdet'))}


def test_names_with_a_scope_that_is_loaded_are_found():
    assert registry.HOOKS.get('mmengine.CheckpointHook') is registry.mm.HOOKS.module_dict['CheckpointHook']
    assert registry.MIXUPS.get('openmix.Mixup') is registry.MIXUPS.get('Mixup')


def test_a_python_recipe_may_declare_what_it_imports(trap):
    """It is a program; its YAML child is data, and may name what the program declared."""
    (trap / 'own.py').write_text('class Own:\n    pass\n')
    (trap / 'mine.py').write_text(f"_base_ = {DIGITS!r}\ncustom_imports = dict(imports=['own'])\n")
    load_config('mine.py')
    assert registry.HOOKS.get('own.Own').__name__ == 'Own'
    with pytest.raises(InputError, match=r'own\.Other'):
        registry.HOOKS.get('own.Other')


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('custom_imports = 3', 'must be dict(imports='),
        ("custom_imports = dict(import_=['x'])", 'must be dict(imports='),
        (
            "custom_imports = dict(imports=['no_such_module'])",
            "'no_such_module' cannot be imported: ModuleNotFoundError",
        ),
        ("custom_imports = dict(imports=['json'], other=1)", "custom_imports has no 'other'"),
        ('import sys\nsys.exit(0)', 'SystemExit: 0'),
        ('x = []\nx.append(x)', 'x.0: holds itself'),
        ('x = {1: 2}', 'x: key 1 is not a string'),
        ('filename = 3', "'filename' cannot be a setting"),
        ('def f(): return f()\nf()', 'RecursionError'),
        ('x = "\\ud800" + 1', 'TypeError'),
        ('\0', 'mine.py'),
        ('x = ' + '(' * 300, 'mine.py'),
        ('x = ' + '-' * 200_000 + '1', 'mine.py'),
    ],
)
def test_a_python_recipe_that_fails_is_one_line(text, told, trap):
    Path('mine.py').write_text(f'{text}\n')
    with pytest.raises(InputError) as caught:
        load_config('mine.py')
    assert told in str(caught.value)
    assert '\n' not in str(caught.value)


def test_what_is_written_out_holds_the_same_and_runs_nothing(trap):
    """Keys and values are written by their repr: one with quotes in it is only that."""
    odd = {"a'); open('marker', 'w').close(); ('": 1, 'b"\n': 'x\'\'\'"""\\', 'class': (1,), 'n': float('inf'), 'e': {}}
    cfg = apply_overrides(load_config(DIGITS), {'model.policy.odd': odd})
    for name in ('written.py', 'written.yaml'):
        cfg.dump(trap / name)
        again = load_config(name)
        wanted = {**odd, 'class': [1]} if name.endswith('yaml') else odd
        assert again.model.policy.odd.to_dict() == wanted
        assert not (trap / 'marker').exists()
    assert load_config('written.py').to_dict() == cfg.to_dict()


def test_a_command_runs_nothing_of_a_table_or_recipe(trap, nursery):
    """As a process, with the folder of the trap on its path."""
    (trap / 'mine.yaml').write_text(f'_base_: {DIGITS}\nmodel: {{policy: {{_delete_: true, type: evil.Evil}}}}\n')
    done = nursery.run(['train.py', 'mine.yaml'], trap, env={'PYTHONPATH': str(trap)})
    assert done.returncode == 2, done.stderr
    assert "unknown mixup 'evil.Evil'" in done.stderr
    assert not (trap / 'marker').exists()
