"""Test one optimiser with learning rates, weight decay, clipping and schedules per part of the model."""

import copy
import math

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from openmix.algorithm import Algorithm
from openmix.engine.part_schedules import without_parts
from openmix.errors import InputError
from openmix.registry import PARAM_SCHEDULERS


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.token = nn.Parameter(torch.randn(1, 1, 2))

    def no_weight_decay(self):
        return {'token'}


class Model(Algorithm):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Backbone()
        self.head = nn.Linear(2, 3)
        self.policy = nn.ModuleDict({'mixer': nn.Linear(3, 3), 'old': nn.Linear(2, 3).requires_grad_(False)})

    def loss(self):
        x = self.backbone.norm(self.backbone.conv(torch.ones(4, 1, 2, 2) * torch.arange(4.0).view(4, 1, 1, 1)))
        z = x.mean((2, 3)) + self.backbone.token[0]
        return self.policy['mixer'](self.head(z)).square().sum()


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('openmix')


def wrapper(model, paramwise_cfg=None, constructor='PartConstructor', optimizer=None, **options):
    optimizer = optimizer or dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-2)
    cfg = ConfigDict(type='OptimWrapper', optimizer=optimizer, constructor=constructor, **options)
    if constructor is None:
        cfg.pop('constructor')
    return build_optim_wrapper(model, cfg | ConfigDict(paramwise_cfg=paramwise_cfg))


def names_of(model, group):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)] for p in group['params']}


def test_without_parts_it_trains_as_the_stock_constructor_does():
    ours, stock = Model(), Model()
    pairs = [(ours, wrapper(ours)), (stock, wrapper(stock, constructor=None))]
    for _ in range(3):
        for model, optim in pairs:
            optim.update_params(model.loss())
    for a, b in zip(ours.state_dict().values(), stock.state_dict().values()):
        assert torch.equal(a, b)


def test_groups_by_part_and_decay():
    model = Model()
    part = dict(lr=0.01, momentum=0.0)
    optim = wrapper(model, dict(parts={'policy.mixer': part}, decay_vectors=False))
    groups = optim.optimizer.param_groups
    assert [(g['part'], g['weight_decay'], g['lr'], g['momentum']) for g in groups] == [
        ('', 1e-2, 0.1, 0.9),
        ('', 0.0, 0.1, 0.9),
        ('policy.mixer', 1e-2, 0.01, 0.0),
        ('policy.mixer', 0.0, 0.01, 0.0),
    ]
    assert names_of(model, groups[0]) == {'backbone.conv.weight', 'head.weight'}
    spared = {'backbone.token', 'backbone.conv.bias', 'backbone.norm.weight', 'backbone.norm.bias', 'head.bias'}
    assert names_of(model, groups[1]) == spared
    assert names_of(model, groups[2]) == {'policy.mixer.weight'}
    assert names_of(model, groups[3]) == {'policy.mixer.bias'}
    assert not any('old' in name for group in groups for name in names_of(model, group))


def test_the_longest_prefix_counts_and_only_whole_names():
    model = Model()
    model.policy_like = nn.Linear(1, 1)
    optim = wrapper(model, dict(parts={'policy': dict(lr=1.0), 'policy.mixer.bias': dict(lr=2.0)}))
    rates = {name: group['lr'] for group in optim.optimizer.param_groups for name in names_of(model, group)}
    assert rates['policy.mixer.weight'] == 1
    assert rates['policy.mixer.bias'] == 2
    assert rates['policy_like.weight'] == rates['head.weight'] == 0.1


def test_each_part_is_clipped_by_its_own_norm():
    model = Model()
    parts = {'policy.mixer': dict(clip_grad=dict(max_norm=0.5)), 'head': dict(clip_grad=None)}
    sgd = dict(type='SGD', lr=1.0)
    optim = wrapper(model, dict(parts=parts), optimizer=sgd, clip_grad=dict(max_norm=0.1))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = copy.deepcopy(trained)
    loss = model.loss()
    slopes = dict(zip(trained, torch.autograd.grad(loss, list(trained.values()), retain_graph=True)))
    optim.update_params(loss)
    moved = {name: p.detach() - before[name].detach() for name, p in trained.items()}

    def norm(values, part):
        return math.sqrt(sum(v.square().sum().item() for name, v in values.items() if name.startswith(part)))

    assert norm(slopes, 'policy.mixer') > 0.5
    assert norm(moved, 'policy.mixer') == pytest.approx(0.5, rel=1e-4)
    assert norm(moved, 'backbone') == pytest.approx(0.1, rel=1e-4)
    assert norm(moved, 'head') == pytest.approx(norm(slopes, 'head'), rel=1e-4)


def test_accumulated_gradients_are_clipped_once():
    model = Model()
    sgd = dict(type='SGD', lr=1.0)
    optim = wrapper(model, optimizer=sgd, clip_grad=dict(max_norm=0.1), accumulative_counts=2)
    start = copy.deepcopy(model.head.weight)
    optim.initialize_count_status(model, 0, 4)
    optim.update_params(model.loss())
    assert torch.equal(model.head.weight, start)
    optim.update_params(model.loss())
    assert not torch.equal(model.head.weight, start)
    assert (model.head.weight - start).norm() <= 0.1 + 1e-5


def schedule(optim, **options):
    return PARAM_SCHEDULERS.build(dict(type='PartCosineAnnealingLR', optimizer=optim, by_epoch=False, **options))


def test_each_part_ends_at_its_own_rate():
    model = Model()
    optim = wrapper(model, dict(parts={'policy.mixer': dict(lr=0.4, lr_end=0.01), 'head': dict(lr=0.2)}))
    steps = schedule(optim, T_max=10, eta_min=0.05)
    starts_and_ends = [(0.1, 0.05), (0.4, 0.01), (0.2, 0.05)]
    for t in range(11):
        rates = [group['lr'] for group in optim.optimizer.param_groups]
        wanted = [end + (start - end) * (1 + math.cos(math.pi * t / 10)) / 2 for start, end in starts_and_ends]
        assert rates == pytest.approx(wanted, abs=1e-12)
        if t < 10:
            optim.step()
            steps.step()
    with pytest.raises(InputError, match='past its 10 steps'):
        steps.step()


def test_without_parts_the_schedule_is_the_stock_one():
    optims = [wrapper(Model()), wrapper(Model(), constructor=None)]
    stock = dict(type='CosineAnnealingLR', optimizer=optims[1], by_epoch=False, T_max=7, eta_min=0.01)
    schedules = [schedule(optims[0], T_max=7, eta_min=0.01), PARAM_SCHEDULERS.build(stock)]
    for _ in range(7):
        assert optims[0].optimizer.param_groups[0]['lr'] == optims[1].optimizer.param_groups[0]['lr']
        for optim, steps in zip(optims, schedules):
            optim.step()
            steps.step()


def test_a_scaled_rate_ends_scaled():
    model = Model()
    optim = wrapper(model, dict(parts={'policy.mixer': dict(lr=0.4, lr_end=0.01)}))
    for group in optim.param_groups:
        group['lr'] *= 2
    steps = schedule(optim, T_max=3, eta_min=0.1)
    for _ in range(3):
        optim.step()
        steps.step()
    assert [group['lr'] for group in optim.optimizer.param_groups] == pytest.approx([0.1, 0.02])


def test_a_saved_optimiser_goes_on_exactly(tmp_path):
    def train(model, optim, steps, count):
        for _ in range(count):
            optim.update_params(model.loss())
            steps.step()

    def fresh():
        model = Model()
        parts = {'policy.mixer': ConfigDict(lr=0.02, lr_end=0.001, clip_grad=dict(max_norm=0.3), momentum=0.0)}
        optim = wrapper(model, dict(parts=parts, decay_vectors=False), clip_grad=dict(max_norm=1.0))
        return model, optim, schedule(optim, T_max=8, eta_min=0.01)

    whole = fresh()
    train(*whole, 6)
    first = fresh()
    train(*first, 3)
    torch.save([part.state_dict() for part in first], tmp_path / 'half.pth')
    second = fresh()
    for part, state in zip(second, torch.load(tmp_path / 'half.pth', weights_only=True)):
        part.load_state_dict(state)
    train(*second, 3)
    for a, b in zip(whole[0].state_dict().values(), second[0].state_dict().values()):
        assert torch.equal(a, b)


def test_a_schedule_of_a_part_leaves_the_others_alone():
    """Also after the optimiser's state was loaded, which replaces its groups."""
    optim = wrapper(Model(), dict(parts={'policy.mixer': dict(lr=0.4), 'head': dict(lr=0.2)}))
    built = []
    for given in (
        dict(type='MultiStepLR', milestones=[1, 3], by_epoch=False, parts=['', 'head']),
        dict(type='CosineAnnealingLR', T_max=4, eta_min=0.1, by_epoch=False, parts=['policy.mixer']),
    ):
        plain, of = without_parts(given, optim)
        built.append(PARAM_SCHEDULERS.build(plain, default_args=dict(optimizer=of)))
    for t in range(5):
        block = 0.1 + 0.3 * (1 + math.cos(math.pi * t / 4)) / 2
        tenth = 0.1 ** ((t >= 1) + (t >= 3))
        rates = [group['lr'] for group in optim.optimizer.param_groups]
        assert rates == pytest.approx([0.1 * tenth, block, 0.2 * tenth], abs=1e-12)
        optim.step()
        optim.load_state_dict(copy.deepcopy(optim.state_dict()))
        for one in built:
            one.step()


@pytest.mark.parametrize(
    ('parts', 'line'),
    [
        (['policy.mixr'], "parts: no group of the optimiser is of 'policy.mixr'; did you mean 'policy.mixer'"),
        ('policy.mixer', r"parts must be a list of parts of the model, such as \['policy.mixer'\], got 'policy.mixer'"),
        ([], 'parts must be a list'),
    ],
)
def test_a_schedule_of_unknown_parts_is_refused(parts, line):
    optim = wrapper(Model(), dict(parts={'policy.mixer': dict(lr=0.4)}))
    with pytest.raises(InputError, match=line):
        without_parts(dict(type='CosineAnnealingLR', parts=parts), optim)


def test_a_schedule_of_parts_needs_groups_of_parts():
    with pytest.raises(InputError, match='a schedule of parts needs optim_wrapper=dict'):
        without_parts(dict(type='CosineAnnealingLR', parts=['']), wrapper(Model(), constructor=None))


@pytest.mark.parametrize(
    ('paramwise', 'line'),
    [
        (dict(parts={'policy.mixr': dict(lr=1.0)}), "did you mean 'policy.mixer'"),
        (dict(parts={'policy.old': dict(lr=1.0)}), 'no trainable parameter'),
        (dict(parts={'policy': dict(lrr=1.0)}), "did you mean 'lr'"),
        (dict(parts={'policy': dict(lr=1.0, lr_end=-1.0)}), 'lr_end'),
        (dict(part={'policy': dict(lr=1.0)}), "did you mean 'parts'"),
        *(
            (dict(parts=parts), 'parts must be a dict of dicts')
            for parts in (None, 'policy', ['policy'], {'policy': 1.0})
        ),
        *((dict(decay_vectors=other), 'decay_vectors must be True or False') for other in (None, 0, 'no', {}, [None])),
    ],
)
def test_wrong_parts_are_one_line(paramwise, line):
    with pytest.raises(InputError, match=line):
        wrapper(Model(), paramwise)
