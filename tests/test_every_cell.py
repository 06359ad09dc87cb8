"""Every implemented cell is merged and built at full size; parts that meet in a cell train together in one tiny run.

Cells are resolved when the tests run, not when they are collected, because that takes seconds.
"""

import copy
import functools
import gc
import importlib
import json
import re
from collections import defaultdict

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope

from openmix.benchmark.smoke import Smoke
from openmix.benchmark.table import load_table, table_names
from openmix.data.imitation import imitation
from openmix.engine import launch
from openmix.engine.foretold import example_of
from openmix.engine.preflight.meta_batch_norm import quick_batch_norm
from openmix.engine.preflight.meta_draws import complete_meta
from openmix.errors import InputError
from openmix.mixups import AttentiveMix, MixContext, NoMix, PairPolicy
from openmix.registry import MIXUPS, MODELS

pytestmark = pytest.mark.slow
every_table = pytest.mark.parametrize('name', table_names())
_RECIPES = importlib.import_module('test_every_recipe')
PARAMETERS, Printed = _RECIPES.PARAMETERS, _RECIPES.Printed


@functools.cache
def resolved(name):
    """List (cell, prepared recipe) of every different run of a table."""
    init_default_scope('openmix')
    cells = {cell.folder: cell for cell in load_table(name).cells if cell.implemented}
    return [(cell, launch.fill_from_data(with_classes(cell.resolve()))) for cell in cells.values()]


def with_classes(cfg):
    """Set the classes of an image folder, which would be listed from a folder that does not exist here."""
    dataset = cfg.train_dataloader.dataset
    for images in (dataset, dataset.get('labelled') or {}):  # of pools the unlabelled ones take over the labelled ones'
        if images.get('type') in ('ImageFolder', 'VOCFolder'):
            images.setdefault('classes', [str(label) for label in range(10)])
    return cfg


def as_text(part):
    return json.dumps(part.to_dict(), sort_keys=True, default=str)


@functools.cache
def backbone_of(text):
    """Build a backbone on the meta device from its recipe as text; hundreds of models share a few."""
    with torch.device('meta'):
        return MODELS.build(json.loads(text))


def copy_of_backbone(text):
    return copy.deepcopy(backbone_of(text))


def model_on_meta(text):
    """Build a model on the meta device from its recipe as text."""
    plain = json.loads(text)
    plain['backbone'] = {'type': copy_of_backbone, 'text': json.dumps(plain['backbone'])}
    with torch.device('meta'), quick_batch_norm():  # learned mixers look at what a site of the backbone puts out
        return MODELS.build(plain)


@functools.cache
def build(model):
    """Build a model from its recipe as text; return the number of parameters of its network.

    That is its backbone and its head; of a detector, which has no head of that name, all of it.
    """
    plain, built = json.loads(model), model_on_meta(model)
    parts = (built.backbone, built.head) if 'head' in plain else (built,)
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def parts_of(cfg):
    """Return the settings that decide which code runs: task and policies, loss, backbone and its family."""
    backbone, branch = cfg.model.backbone, cfg.model.get('branch') or {}
    family = re.match('[a-z]*', backbone.get('name', '')).group()
    policy = cfg.model.get('policy') or branch.get('policy') or {'type': ''}
    policies = [policy['type'], *(part.type for part in policy.get('policies', []))]
    loss = cfg.model.head.loss.type if 'head' in cfg.model else ''
    if branch:
        loss = f'{loss}, {branch.loss.type} {branch.loss.get("sides", "")} {branch.get("lam")}'
    return (cfg.model.type, *policies), loss, (backbone.type, family)


def shown_by(cell, cfg):
    """Return what a run of a cell shows: its recipe, and every two of its policies, loss and backbone together.

    Three together show no more than each two of them. A loss reads logits (N, C), labels and a `Mix`, whose types and
    shapes are the head's and the policy's, whatever the backbone is; and a backbone gets the gradient of its features,
    (N, D), whatever the loss is. What a policy reads of the network, and of its losses, is in the two pairs of it. A
    policy that mixes images and reads nothing else shows nothing with a backbone: it gets images, whoever mixed them.
    """
    policies, loss, backbone = parts_of(cfg)
    pairs = {(policies, loss), (loss, backbone)}
    return {cell.config, *pairs} if mixes_images_alone(cfg) else {cell.config, *pairs, (policies, backbone)}


def mixes_images_alone(cfg):
    """Return true if a classifier's policy, or each of a `OneOf`, mixes images and asks for no network."""
    policy = cfg.model.get('policy') or {'type': ''}
    each = policy.get('policies', [policy])
    return cfg.model.type == 'MixClassifier' and all(runs_on_images_alone(as_text(one)) for one in each)


@functools.cache
def runs_on_images_alone(text):
    given = json.loads(text)
    if not issubclass(MIXUPS.get(given['type']), (PairPolicy, NoMix, AttentiveMix)):
        return False
    if 'teacher' in given:
        given['teacher'] |= {'pretrained': False}
    policy, x = MIXUPS.build(given), torch.rand(4, 3, 32, 32)
    try:
        for _ in range(2):  # one that remembers a batch may ask at the next
            policy(x, MixContext(x))
    except InputError:
        return False
    return not isinstance(policy, PairPolicy) or tuple(policy.sites) == ('',)


@functools.cache
def chosen():
    """Choose cells of all tables that together show what all of them show, small ones first; return them by table."""
    cells = [
        (build(as_text(cfg.model)), name, cell, shown_by(cell, cfg))
        for name in table_names()
        for cell, cfg in resolved(name)
    ]
    cells.sort(key=lambda one: one[0])
    left, found = set().union(*(shown for *_, shown in cells)), defaultdict(list)
    while left:
        _, name, cell, shown = max(cells, key=lambda one: len(one[-1] & left))
        found[name].append(cell)
        left -= shown
    return found


# The networks of cells that set another than their recipe's.
OTHER_NETWORKS = {
    ('selfsup/stl10/linear_paper.py', 'resnet50'): _RECIPES.RESNET50,
    ('selfsup/tiny_imagenet/linear_paper.py', 50): Printed(23_705_252, 100, 2048),
    ('selfsup/imagenet/linear_paper.py', 'resnet18'): _RECIPES.RESNET18,
}


@every_table
def test_builds_at_full_size(name):
    for cell, cfg in resolved(name):
        size = build(as_text(cfg.model))
        biased = cell.config.endswith('wrn28_8.py') and cell.variant == 'published'
        backbone = cfg.model.backbone
        other = OTHER_NETWORKS.get((cell.config, backbone.get('name') or backbone.get('depth')))
        printed = Printed(23_409_092, 100, 512) if biased else other or PARAMETERS[cell.config]
        # One that learns without labels has no classes.
        classes = cfg.model.head.num_classes if 'head' in cfg.model else cfg.model.get('num_classes', 0)
        assert size == printed.with_classes(classes), cell.name


@every_table
def test_every_two_parts_run_together(name):
    cells = chosen()[name]
    gc.freeze()  # after each pass the cycles of its runner are searched for, not among the cells of all tables
    with Smoke(lambda cfg, weights: launch.train(launch.prepare(cfg)), imitation) as smoke:
        faults = [f'{outcome.cell.name}: {outcome.error}' for outcome in smoke.all(cells) if outcome.error]
    assert not faults


def step_on_meta(cfg):
    """Compute the losses of a training step with a recipe's whole batch."""
    complete_meta()
    data, why = example_of(cfg, 'train', cfg.train_dataloader.batch_size)
    assert data is not None, why
    model = model_on_meta(as_text(cfg.model))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: model.after_step())
    with quick_batch_norm():
        model.before_step(0, 10)
        return model.train().train_step(data, OptimWrapper(optimizer))


@every_table
def test_full_size_steps_stay_on_their_device(name):
    """On meta nothing is computed but shapes are checked; a tensor of the CPU, or a value that is read, is an error."""
    found = {}
    for cell in chosen()[name]:
        cfg = launch.fill_from_data(with_classes(cell.resolve()))
        policies, _, backbone = parts_of(cfg)
        found.setdefault((policies, backbone), (cell, cfg))
    for cell, cfg in found.values():
        assert all(value.is_meta for value in step_on_meta(cfg).values()), cell.name


def test_every_two_parts_and_every_recipe_are_chosen():
    """Looked up by other means than those that chose: the parts of each pair, one by one."""
    every = {name: resolved(name) for name in table_names()}
    run = {name: {cell.folder for cell in cells} for name, cells in chosen().items()}
    of_run = [(cell, cfg) for name, cells in every.items() for cell, cfg in cells if cell.folder in run.get(name, ())]
    for cell, cfg in (one for cells in every.values() for one in cells):
        policies, loss, backbone = parts_of(cfg)
        alike = [parts_of(other) for _, other in of_run]
        assert any(one[:2] == (policies, loss) for one in alike), cell.name
        assert any(one[1:] == (loss, backbone) for one in alike), cell.name
        assert mixes_images_alone(cfg) or any((one[0], one[2]) == (policies, backbone) for one in alike), cell.name
        assert any(other.config == cell.config for other, _ in of_run), cell.name
    assert 80 < len(of_run) < 240


def test_counts_are_compared():
    recipes = {cell.config for name in table_names() for cell, _ in resolved(name)}
    assert len(recipes & PARAMETERS.keys()) >= 15
