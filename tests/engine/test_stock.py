"""Every class of mmengine for training is replaced by ours, tested here, or rejected with a reason."""

import types

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope

from openmix.data.collate import identity_collate
from openmix.data.digits import Digits
from openmix.data.sampler import DefaultSampler
from openmix.engine.loops import read_pass
from openmix.errors import InputError
from openmix.models.backbones import ThinResNet
from openmix.registry import CONSTRUCTORS, HOOKS, LOOPS, OPTIM_WRAPPERS, PARAM_SCHEDULERS, find
from openmix.stock import CHECKED, REFUSED, refusal

REGISTRIES = {one.name: one for one in (HOOKS, LOOPS, CONSTRUCTORS, OPTIM_WRAPPERS, PARAM_SCHEDULERS)}


def stock(registry):
    """Return the classes that mmengine itself registers."""
    registry.parent.import_from_location()
    found = registry.parent.module_dict
    return {name: cls for name, cls in found.items() if cls.__module__.startswith('mmengine.')}


STOCK = [(kind, name) for kind, registry in REGISTRIES.items() for name in stock(registry)]


@pytest.mark.parametrize(('kind', 'name'), STOCK)
def test_every_class_of_mmengine_is_decided(kind, name):
    """A new one must be put into `openmix.stock`; until then it is refused."""
    registry = REGISTRIES[kind]
    cls = stock(registry)[name]
    decided = (name in CHECKED[kind]) + (name in REFUSED[kind])
    assert decided == 1, f'decide on {name} in openmix/stock.py'
    for given in (f'mmengine.{name}', cls):
        if name in CHECKED[kind]:
            assert find(registry, given) is cls
            continue
        with pytest.raises(InputError, match=name) as caught:
            find(registry, given)
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('kind', REGISTRIES)
def test_what_has_a_replacement_finds_it_by_its_name(kind):
    for name, why in REFUSED[kind].items():
        if 'openmix has one of the same name' in why:
            assert find(REGISTRIES[kind], name).__module__.startswith('openmix.')
        else:
            with pytest.raises(InputError, match='does not fit here'):
                find(REGISTRIES[kind], name)


def test_nothing_is_decided_that_does_not_exist():
    for table in (CHECKED, REFUSED):
        for kind, names in table.items():
            assert set(names) <= stock(REGISTRIES[kind]).keys()


def test_a_class_that_nobody_decided_on_is_refused():
    class NewHook(Hook):
        pass

    NewHook.__module__ = 'mmengine.hooks.new_hook'
    assert 'has not been tried' in refusal('hook', NewHook)
    NewHook.__module__ = 'mine'
    assert refusal('hook', NewHook) is None


def test_the_seed_of_the_sampler_is_the_loops_whoever_sets_it_before():
    """DistSamplerSeedHook: the loop sets the number of the pass after it."""
    data = Digits(split='test')
    sampler = DefaultSampler(data, shuffle=True, seed=0)
    loader = torch.utils.data.DataLoader(data, 100, sampler=sampler, collate_fn=identity_collate)
    loop = types.SimpleNamespace(dataloader=loader)
    orders = []
    for epoch in (0, 5):
        runner = types.SimpleNamespace(train_loop=loop, epoch=epoch)
        find(HOOKS, 'DistSamplerSeedHook')().before_train_epoch(runner)
        orders.append([batch['ids'].tolist() for batch in read_pass(loader, 3, 0, 0)])
    assert orders[0] == orders[1]


def test_the_cache_of_the_device_is_emptied_and_nothing_else():
    hook = find(HOOKS, 'EmptyCacheHook')(after_iter=True)
    hook.after_train_iter(types.SimpleNamespace(), 0)


def test_the_stock_constructor_builds_what_ours_does():
    """One optimiser over the trainable parameters, with and without multipliers by name."""
    init_default_scope('openmix')
    torch.manual_seed(0)
    model = ThinResNet(depth=8, width=4)
    assert not is_model_wrapper(model)
    given = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.01))
    plain, ours = (
        build_optim_wrapper(model, {**given, 'constructor': name})
        for name in ('DefaultOptimWrapperConstructor', 'PartConstructor')
    )
    for built in (plain, ours):
        assert type(built) is OptimWrapper
        assert {id(p) for group in built.optimizer.param_groups for p in group['params']} == {
            id(p) for p in model.parameters()
        }
    keyed = build_optim_wrapper(model, {**given, 'paramwise_cfg': dict(custom_keys={'layer1': dict(lr_mult=0.5)})})
    rates = {id(p): group['lr'] for group in keyed.optimizer.param_groups for p in group['params']}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (0.05 if 'layer1' in name else 0.1)
