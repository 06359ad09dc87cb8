"""Every implemented cell is merged and built at full size; every combination of parts trains in one tiny run.

Cells are resolved when the tests run, not when they are collected, because that takes seconds.
"""

import functools
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
from openmix.engine.foretold import served
from openmix.engine.preflight.meta_draws import complete_meta
from openmix.registry import MODELS

pytestmark = pytest.mark.slow
every_table = pytest.mark.parametrize('name', table_names())
PARAMETERS = importlib.import_module('test_every_recipe').PARAMETERS


@functools.cache
def resolved(name):
    """List (cell, prepared recipe) of every different run of a table."""
    init_default_scope('openmix')
    cells = {cell.folder: cell for cell in load_table(name).cells if cell.implemented}
    return [(cell, launch.fill_from_data(with_classes(cell.resolve()))) for cell in cells.values()]


def with_classes(cfg):
    """Set the classes of an image folder, which would be listed from a folder that does not exist here."""
    if cfg.train_dataloader.dataset.type == 'ImageFolder':
        cfg.train_dataloader.dataset.setdefault('classes', [str(label) for label in range(10)])
    return cfg


def as_text(part):
    return json.dumps(part.to_dict(), sort_keys=True, default=str)


@functools.cache
def build(model):
    """Build a model on the meta device from its recipe as text; return the number of parameters of its network."""
    with torch.device('meta'):
        built = MODELS.build(json.loads(model))
    policy = {id(parameter) for parameter in built.policy.parameters()}
    return sum(parameter.numel() for parameter in built.parameters() if id(parameter) not in policy)


def combination(cfg):
    """Return the settings that decide which code runs: task, policies, loss, family of backbones, data set."""
    backbone, policy = cfg.model.backbone, cfg.model.policy
    family = re.match('[a-z]*', backbone.get('name', '')).group()
    policies = [policy.type, *(part.type for part in policy.get('policies', []))]
    loss = cfg.model.head.loss.type if 'head' in cfg.model else ''
    return cfg.model.type, *policies, loss, backbone.type, family


@functools.cache
def chosen():
    """Choose the cell with the fewest parameters of all tables for every combination; return the cells by table."""
    smallest = {}
    for name in table_names():
        for cell, cfg in resolved(name):
            size, key = build(as_text(cfg.model)), combination(cfg)
            if key not in smallest or size < smallest[key][0]:
                smallest[key] = size, name, cell
    found = defaultdict(list)
    for _, name, cell in smallest.values():
        found[name].append(cell)
    return found


@every_table
def test_builds_at_full_size(name):
    for cell, cfg in resolved(name):
        size = build(as_text(cfg.model))
        assert size == PARAMETERS[cell.config].with_classes(cfg.model.head.num_classes), cell.name


@every_table
def test_every_combination_of_parts_runs(name, capsys):
    with Smoke(lambda cfg, weights: launch.train(launch.prepare(cfg)), imitation) as smoke:
        faults = [f'{outcome.cell.name}: {outcome.error}' for outcome in smoke.all(chosen()[name]) if outcome.error]
    assert not faults


def step_on_meta(cfg):
    """Compute the losses of a training step with a recipe's whole batch."""
    complete_meta()
    n, shape = cfg.train_dataloader.batch_size, served(cfg)
    with torch.device('meta'):
        model = MODELS.build(json.loads(as_text(cfg.model)))
        images = torch.empty(n, *shape, dtype=torch.uint8)
        data = dict(inputs=images, labels=torch.empty(n, dtype=torch.int64), ids=torch.empty(n, dtype=torch.int64))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: model.after_step())
    model.before_step(0, 10)
    return model.train().train_step(data, OptimWrapper(optimizer))


@every_table
def test_full_size_steps_stay_on_their_device(name):
    """On meta nothing is computed but shapes are checked; a tensor of the CPU, or a value that is read, is an error."""
    found = {}
    for cell in chosen()[name]:
        cfg = launch.fill_from_data(with_classes(cell.resolve()))
        *policies, _, backbone, family = combination(cfg)
        found.setdefault((*policies, backbone, family), (cell, cfg))
    for cell, cfg in found.values():
        assert all(value.is_meta for value in step_on_meta(cfg).values()), cell.name


def test_all_combinations_are_chosen():
    every = {combination(cfg) for name in table_names() for _, cfg in resolved(name)}
    assert sum(map(len, chosen().values())) == len(every) > 100


def test_counts_are_compared():
    recipes = {cell.config for name in table_names() for cell, _ in resolved(name)}
    assert len(recipes & PARAMETERS.keys()) >= 15
