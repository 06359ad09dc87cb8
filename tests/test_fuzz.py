"""A recipe with one random fault either trains a step or gives one error line, never a traceback."""

import copy
import math
import random
import string
import warnings

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.visualization import Visualizer
from PIL import Image

from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError
from openmix.losses.decoupled import decoupled_ce
from openmix.shipped import configs_dir

SEED, MUTANTS, CHUNKS = 0, 300, 10
STEPS = 2

THIN = {'model.backbone': {'type': 'ThinResNet', 'depth': 8, 'width': 4, '_delete_': True}}
DIGITS = {
    f'{part}_dataloader.dataset': {'type': 'Digits', 'split': split, 'subset': 8, '_delete_': True}
    for part, split in (('train', 'train'), ('val', 'test'), ('test', 'test'))
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
FOLDERS = {f'{loader}.dataset.root': 'images' for loader in LOADERS}
FEW = {f'{loader}.dataset.subset': 8 for loader in LOADERS}
# Small replacements for the full-size parts of a recipe; other parts are kept.
SHRUNK = {
    'cifar10/resnet20_small.py': {'model.backbone.depth': 8, 'model.backbone.width': 4, **FOLDERS, **FEW},
    'cifar100/wrn28_8.py': {'model.backbone.depth': 10, 'model.backbone.widen_factor': 1, **DIGITS},
    'digits/resnet20.py': {'model.backbone.depth': 8, **FEW},
    'image_folder/resnet18.py': {'model.backbone.name': 'test_resnet', **FOLDERS},
}
OTHERS = {**THIN, **DIGITS}
# Policies that read the attention of a transformer, in place of which a thin ResNet is trained.
SHRUNK |= {
    path.relative_to(configs_dir() / 'classification').as_posix(): {
        'model.policy': {'type': 'Mixup', '_delete_': True},
        **OTHERS,
    }
    for path in [
        *configs_dir().glob('classification/tiny_imagenet/deit_tiny_*.py'),
        configs_dir() / 'classification/digits/merge_mix.py',
    ]
}
SMALL = {
    **{f'{loader}.num_workers': 0 for loader in LOADERS},
    **{f'{loader}.persistent_workers': False for loader in LOADERS},
    'train_dataloader.batch_size': 4,
    'val_dataloader.batch_size': 8,
}
RECIPES = sorted(
    path.relative_to(configs_dir() / 'classification').as_posix()
    for path in configs_dir().glob('classification/**/*.py')
    if 'teacher' not in path.read_text()  # whose weights are a package
)
POLICIES = [
    {'type': 'Mixup', 'alpha': 1.0, 'share': 'batch', 'sites': ['', 'layer1']},
    {'type': 'CutMix', 'alpha': 0.2, 'lam_range': [0.0, 1.0]},
    {'type': 'FMix', 'decay': 3.0, 'spectrum': 'isotropic'},
    {'type': 'ResizeMix', 'scope': [0.1, 0.8], 'interpolation': 'nearest'},
    {'type': 'SaliencyMix', 'alpha': 1.0, 'detector_input': 'uint8'},
    {'type': 'OneOf', 'policies': [{'type': 'Mixup', 'alpha': 0.8}, {'type': 'CutMix'}], 'probs': [0.5, 0.5]},
]
LOSSES = [
    {'type': 'mix_ce', 'smoothing': 0.1},
    {'type': 'mix_bce', 'labels': 'two'},
    {'type': 'decoupled_ce', 'eta': 0.1, 'sides': 'own'},
    {'type': 'decoupled_ce', **decoupled_ce.published},
    {'type': 'decoupled_bce', 't': 1.0, 'xi': 0.8},
]
OTHER_TYPES = [None, 'word', '', [], {}, 0, 7, True, 1.5, ['word'], [None], {'type': 'Nothing'}, {'key': 1}, [{}]]
NUMBERS = [0, -1, 10**9, 10**18, 0.5, 1e30, -0.1, math.nan, math.inf, -math.inf]


def shrinking(name):
    """Return overrides that shorten a recipe to about a second."""
    # Some warm up for twenty epochs; no more than one is trained.
    epochs = 30 if 'imagenet/' in name or 'cifar100/' in name or name == 'digits/deit_100.py' else 1
    return {**SMALL, 'train_cfg.max_epochs': epochs, **SHRUNK.get(name, OTHERS)}


class Enough(BaseException):
    """A mutated recipe has trained its steps."""


def nodes(node, path=()):
    """List (path, value) of everything inside a recipe."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        yield (*path, key), value
        yield from nodes(value, (*path, key))


def holder(recipe, path):
    """Return the container of a path's last key, after all tuples above it were turned into lists."""
    for key in path[:-1]:
        if isinstance(recipe[key], tuple):
            recipe[key] = list(recipe[key])
        recipe = recipe[key]
    return recipe


def misspelt(word, rng):
    at = rng.randrange(len(word) + 1)
    return word[:at] + rng.choice(string.ascii_lowercase) + word[at + rng.randrange(2) :]


def mutate(recipe, rng):
    """Make one change; return its description."""
    everything = list(nodes(recipe))
    path, value = rng.choice(everything)
    inside = holder(recipe, path)
    if isinstance(inside, tuple):
        path, value = path[:-1], inside
        inside = holder(recipe, path)
    kind = rng.choice(['drop', 'rename', 'add', 'type', 'type', 'value', 'value', 'value', 'value'])
    if kind == 'drop':
        del inside[path[-1]]
        return f'drop {path}'
    if kind == 'rename' and isinstance(path[-1], str):
        name = misspelt(path[-1], rng)
        inside[name] = inside.pop(path[-1])
        return f'rename {path} to {name!r}'
    if kind == 'add' and isinstance(value, dict):
        name, added = rng.choice(['extra', 'lr', 'type_', 'size']), rng.choice(OTHER_TYPES)
        value[name] = copy.deepcopy(added)
        return f'add {name!r}={added!r} to {path}'
    if kind == 'value' and isinstance(value, (int, float)) and not isinstance(value, bool):
        new = rng.choice([*NUMBERS, -value, value * 1000, str(value)])
    elif kind == 'value' and isinstance(value, str):
        others = [v for p, v in everything if p[-1] == path[-1] and isinstance(v, str)]
        new = rng.choice([misspelt(value, rng), '', value.upper(), rng.choice(others)])
    elif kind == 'value' and isinstance(value, (list, tuple)):
        new = rng.choice([[], [*value, *value], list(value)[1:], [*value, 'word'], [*value, -1], [*value, None]])
    elif kind == 'value' and isinstance(value, dict):
        new = copy.deepcopy(rng.choice([v for _, v in everything if isinstance(v, dict)]))
    else:
        new = copy.deepcopy(rng.choice(OTHER_TYPES))
    inside[path[-1]] = new
    return f'{path} = {new!r}, was {value!r}'


def mutant(seed):
    """Return a shortened recipe with one random change, and the description of the change."""
    rng = random.Random(seed)
    name = rng.choice(RECIPES)
    options = shrinking(name)
    options['model.policy'] = {**rng.choice(POLICIES), '_delete_': True}
    options['model.head.loss'] = {**rng.choice(LOSSES), '_delete_': True}
    cfg = load_config(f'classification/{name}', options)
    recipe = cfg.to_dict()
    done = mutate(recipe, rng)
    return f'seed {seed}, {name}: {done}', Config(recipe, filename=cfg.filename)


def outcome(cfg, folder):
    """Return 'trained', or the error line; other errors are raised."""
    steps = []
    step = BaseModel.train_step

    def counted(self, *args, **kwargs):
        if len(steps) == STEPS:
            raise Enough
        steps.append(1)
        return step(self, *args, **kwargs)

    BaseModel.train_step = counted
    try:
        cfg = launch.prepare(cfg)
        cfg.work_dir = str(folder)
        launch.train(cfg)
    except Enough:
        pass
    except InputError as error:
        return str(error)
    finally:
        BaseModel.train_step = step
        for manager in (MMLogger, MessageHub, Visualizer):
            manager._instance_dict.clear()
    return 'trained' if steps else 'nothing was trained'


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Make a folder of two images per class."""
    root = tmp_path_factory.mktemp('fuzz')
    for split in ('train', 'val', 'test'):
        for c, name in enumerate(('cat', 'dog', 'emu', 'fox')):
            for i in range(2):
                path = root / 'images' / split / name / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new('RGB', (40, 32), (60 * c, 90 * i, 50)).save(path)
    return root


@pytest.mark.slow
@pytest.mark.parametrize('recipe', RECIPES)
def test_a_recipe_with_nothing_wrong(recipe, images, tmp_path, monkeypatch):
    """Else a mutant could end in a line that its mutation has no part in."""
    monkeypatch.chdir(images)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        cfg = load_config(f'classification/{recipe}', shrinking(recipe))
        assert outcome(cfg, tmp_path) == 'trained'


@pytest.mark.slow
@pytest.mark.parametrize('chunk', range(CHUNKS))
def test_a_recipe_with_one_thing_wrong(chunk, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)
    torch.set_num_threads(1)
    for i in range(chunk, MUTANTS, CHUNKS):
        told, cfg = mutant(SEED * MUTANTS + i)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                line = outcome(cfg, tmp_path / str(i))
            except BaseException as error:
                raise AssertionError(f'{told}: {type(error).__name__}: {error}') from error
        assert '\n' not in line, told
        assert line != 'nothing was trained', told
