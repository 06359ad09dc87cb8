"""Test the preflight: one step on the meta device for every branch that random draws may choose."""

import pytest
import torch
import torch.nn.functional as F
from preflight_toys import Answering, Lists, Lossless, Nameless, Returning, Told, Toy, TwoPools, Unanswered, Untold
from torch import nn
from torch.utils.data import DataLoader

from openmix.algorithm import Network
from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.engine.preflight import try_batch, try_parts
from openmix.engine.smallest_batch import try_smallest_batch
from openmix.errors import InputError
from openmix.mixups.learned_mix import LearnedMix
from openmix.registry import DATASETS, MIXUPS, MODELS

DIGITS = 'classification/digits/resnet20.py'
BACKBONE = {'type': 'ThinResNet', 'depth': 8, 'width': 4}


@pytest.fixture(autouse=True)
def registered():
    owned = [(MODELS, cls) for cls in (Toy, Returning, Answering, Unanswered, Lossless, Nameless, TwoPools, Lists)]
    owned += [(DATASETS, cls) for cls in (Told, Untold)]
    for registry, cls in owned:
        registry.register_module(module=cls)
    yield
    for registry, cls in owned:
        del registry.module_dict[cls.__name__]


def recipe(model='Toy', dataset=None, **given):
    options = {'type': model, '_delete_': True, **given}
    if model not in ('Lists',):
        options['backbone'] = BACKBONE
    if dataset is None:
        options['data_preprocessor'] = {'type': 'ImagePreprocessor'}
    cfg = load_config(DIGITS, {'model': options})
    if dataset is not None:
        cfg.train_dataloader.dataset = dataset
        for key in ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg'):
            cfg[key] = None
        cfg.train_dataloader.collate_fn = {'type': 'default_collate'}
    return cfg


def refused(cfg):
    with pytest.raises(InputError) as told:
        prepare(cfg)
    assert '\n' not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ('fails', 'line'),
    [
        ('projector', 'model: head (Linear), on images of 16x16: '),
        ('head', 'model: head (Linear), on images of 16x16: '),
        ('function', 'model: Toy, on images of 16x16: '),
    ],
)
def test_what_a_library_refuses_in_a_step_names_the_module_that_was_at_work(fails, line):
    assert refused(recipe(fails=fails)).startswith(line)


def test_a_part_that_the_recipe_names_is_named_by_its_place():
    line = refused(recipe(policy={'type': 'CutMix'}))
    assert line.startswith('model.policy: CutMix needs an (N, C, H, W) tensor')
    backbone = {'type': 'TimmBackbone', 'name': 'vit_tiny_patch16_224', '_delete_': True}
    line = refused(load_config(DIGITS, {'model.backbone': backbone}))
    assert line.startswith('model.backbone: ')
    assert '(PatchEmbed), on images of 16x16: ' in line


def test_a_loss_of_a_head_is_named_as_such(monkeypatch):
    def loss(self, logits, y, mix):
        return F.cross_entropy(logits[:, :, None], y)

    monkeypatch.setattr('openmix.models.heads.linear_head.LinearHead.loss', loss)
    assert refused(load_config(DIGITS)).startswith('model.head.loss: on images of 16x16: ')


def test_an_error_of_ones_own_code_keeps_its_traceback():
    with pytest.raises(ValueError, match='of the user'):
        prepare(recipe(fails='own'))


def test_what_cannot_be_built_is_named_by_the_innermost_part():
    policies = [{'type': 'Mixup'}, {'type': 'CutMix', 'alpha': -1.0}]
    policy = {'type': 'OneOf', 'policies': policies, '_delete_': True}
    line = refused(load_config(DIGITS, {'model.policy': policy}))
    assert line.startswith('model.policy.policies.1: CutMix: alpha must be > 0')
    assert refused(recipe('Nameless')).startswith('model: Nameless has no backbone')


HIDDEN = 'global_pool.flatten'
SMALL = {'type': 'TimmBackbone', 'name': 'test_resnet', '_delete_': True}


@pytest.mark.parametrize(
    'policy',
    [
        {'type': 'CutMix', 'sites': ['', HIDDEN]},
        {'type': 'OneOf', 'policies': [{'type': 'Mixup'}, {'type': 'CutMix', 'sites': ['', HIDDEN]}]},
        {'type': 'OneOf', 'policies': [{'type': 'Mixup'}, {'type': 'CutMix', 'sites': [HIDDEN]}], 'probs': [1.0, 0.0]},
    ],
)
def test_every_policy_is_tried_at_every_site(policy):
    cfg = load_config(DIGITS, {'model.backbone': SMALL, 'model.policy': {**policy, '_delete_': True}})
    assert 'CutMix needs an (N, C, H, W) tensor' in refused(cfg)


class Strange(nn.Module):
    """A backbone with a module that is not used, and one that returns a tuple."""

    num_features = 3

    def __init__(self):
        super().__init__()
        self.unused, self.pair = nn.ReLU(), Pair()

    def forward(self, x):
        return self.pair(x)[0].mean((2, 3))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ('site', 'line'),
    [
        ('unused', "model: site 'unused' was not reached in the forward pass; choose a module that runs"),
        ('pair', "model.backbone: site 'pair' puts out a tuple, which no policy mixes; choose another site"),
    ],
)
def test_a_site_that_gives_nothing_to_mix_is_named(site, line, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'Strange', Strange)
    policy = {'type': 'Mixup', 'sites': ['', site], '_delete_': True}
    options = {'model.backbone': {'type': 'Strange', '_delete_': True}, 'model.policy': policy}
    assert refused(load_config(DIGITS, options)).startswith(line)


def test_ways_change_a_policy_for_a_while():
    children = [{'type': 'Mixup', 'sites': ['', 'layer1']}, {'type': 'CutMix'}]
    policy = MIXUPS.build({'type': 'OneOf', 'policies': children, 'probs': [0.25, 0.75]})
    seen = []
    for way in policy.ways():
        with way:
            picked = {policy.pick() for _ in range(8)}
        ((child, site),) = picked
        seen.append((policy.choices().index(child), site))
    assert seen == [(0, ''), (0, 'layer1'), (1, '')]
    assert policy.probs == [0.25, 0.75]
    assert policy.choices()[0].sites == ('', 'layer1')


def test_a_learned_policy_is_tried_with_the_loss_that_few_steps_have(monkeypatch):
    calls = []
    whole = LearnedMix.generation_losses
    monkeypatch.setattr(
        LearnedMix,
        'generation_losses',
        lambda *args, on_logits, pairs: calls.append(on_logits) or whole(*args, on_logits, pairs),
    )
    policy = {'type': 'AutoMix', 'site': 'layer2', 'train_prob': 1e-9, '_delete_': True}
    cfg = prepare(load_config(DIGITS, {'model.policy': policy}))
    assert calls == [True]
    assert cfg.model.policy.train_prob == 1e-9


def test_the_whole_batch_is_tried_and_no_draw_is_taken_from_the_run():
    cfg = prepare(recipe())
    before = torch.get_rng_state()
    assert try_parts(cfg) == []
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ('model', 'kind', 'line'),
    [
        ('TwoPools', 'pools', 'model: head (Linear), on images of 16x16 and 20x20: '),
        ('Lists', 'lists', 'model: backbone (Conv2d), on images of 16x24 and 17x24: '),
    ],
)
def test_batches_of_pools_and_lists_are_tried(model, kind, line):
    dataset = {'type': 'Told', 'kind': kind}
    assert try_parts(prepare(recipe(model, dataset))) == []
    assert refused(recipe(model, dataset, wrong=True)).startswith(line)


def test_the_pools_of_a_data_set_are_tried():
    """The toy wants two views of unlabelled images, which these data do not have."""
    dataset = {'type': 'Pools', 'ratio': 3, 'labelled': {'type': 'Digits', 'split': 'train', 'subset': 40}}
    dataset['unlabelled'] = {'type': 'Digits', 'split': 'train'}
    cfg = recipe('TwoPools', dataset)
    cfg.train_dataloader.collate_fn = {'type': 'identity_collate'}
    cfg.train_dataloader.sampler = {'type': 'PoolSampler'}
    assert refused(cfg).startswith('model.backbone: conv1 (Conv2d), on images of 16x16: ')


def test_batches_of_views_are_tried():
    cfg = recipe('Toy', {'type': 'Told'})
    assert refused(cfg).startswith('model.backbone: conv1 (Conv2d), on images of 16x16: ')


@pytest.mark.parametrize(
    ('returned', 'line'),
    [
        (lambda z: z.mean(), "Returning.loss must return a dict of losses, {'loss': ...}, got a float32 tensor of ()"),
        (lambda z: {}, 'got an empty dict'),
        (lambda z: {'loss': z}, "Returning.loss: 'loss' must be a floating scalar, got a float32 tensor of (64, 10)"),
        (lambda z: {'loss': 1.0}, "'loss' must be a floating scalar, got a float"),
        (lambda z: {'loss': z.mean(), 'hits': (z > 0).sum()}, "'hits' must be a floating scalar, got a int64 tensor"),
        (lambda z: {'cost': z.mean()}, "Returning.loss: none of 'cost' is trained on; call what is 'loss'"),
    ],
)
def test_what_is_no_loss_is_refused(returned, line, monkeypatch):
    monkeypatch.setattr(Returning, 'returned', staticmethod(returned))
    told = refused(recipe('Returning'))
    assert told.startswith('model: ')
    assert line in told


def test_what_an_algorithm_lacks_is_refused():
    assert refused(recipe('Lossless')).startswith('model: Lossless has no loss; write its method loss(batch)')
    line = "model: Unanswered.answers promises 'embedding', and its predict gives 'logits', 'labels', 'ids'"
    assert refused(recipe('Unanswered')).startswith(line)


@pytest.mark.parametrize(('fails', 'asked'), [('values', 'Tensor.item()'), ('mask', 'nonzero')])
def test_a_step_that_needs_values_is_told_not_skipped(fails, asked, capsys):
    prepare(recipe(fails=fails))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('note: model: Toy: the first step will tell whether it works')
    assert asked in line


@pytest.mark.parametrize(
    ('dataset', 'why'),
    [
        ({'type': 'Untold'}, 'Untold has no class method example'),
        ({'type': 'Told', 'kind': 'unknown'}, 'only the files of Told tell the size of its images'),
    ],
)
def test_data_that_tell_nothing_beforehand_are_told_not_skipped(dataset, why, capsys):
    prepare(recipe('Toy', dataset))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'note: a training step is not tried before the run: {why}')
    # What is built is tried all the same.
    assert 'has no backbone' in refused(recipe('Nameless', dataset))


def loader_of(samples, batch_size=16, **given):
    return DataLoader(range(samples), batch_size=batch_size, **given)


def test_any_smaller_batch_at_the_end_of_an_epoch_is_tried():
    cfg = prepare(recipe(fails='odd'))
    for loader in (loader_of(32), loader_of(36), loader_of(35, drop_last=True)):
        try_smallest_batch(cfg, loader, 1)
    line = 'train_dataloader: the last batch of an epoch has 3 images, not 16: .*; set drop_last=True or another'
    with pytest.raises(InputError, match=line):
        try_smallest_batch(cfg, loader_of(35), 1)
    with pytest.raises(InputError, match='has 1 image in each process, not 16'):
        try_smallest_batch(cfg, loader_of(33), 2)
    cfg.sync_bn = 'naive'
    try_smallest_batch(cfg, loader_of(33), 2)


def test_an_error_of_ones_own_code_in_the_last_batch_says_that_it_is_the_last(monkeypatch):
    said = []
    monkeypatch.setattr('mmengine.logging.MMLogger.error', lambda self, text: said.append(text))
    cfg = prepare(recipe())
    cfg.model.fails = 'own'
    with pytest.raises(ValueError, match='of the user'):
        try_smallest_batch(cfg, loader_of(20), 1)
    assert said == ['train_dataloader: the last batch of an epoch has 4 images, not 16, and ends in this error']


def test_a_smaller_batch_that_cannot_be_tried_is_told(monkeypatch):
    said = []
    monkeypatch.setattr('mmengine.logging.MMLogger.warning', lambda self, text: said.append(text))
    try_smallest_batch(prepare(recipe('Toy', {'type': 'Untold'})), loader_of(20), 1)
    (line,) = said
    assert 'has 4 images, not 16; a training step is not tried before the run: Untold' in line
    assert len(try_batch(prepare(recipe(fails='values')), 2)) == 1


def without(key):
    return lambda answer: {name: value for name, value in answer.items() if name != key}


@pytest.mark.parametrize(
    ('changed', 'line'),
    [
        (without('ids'), "Answering.predict must return the 'ids' of the batch, .*, got none"),
        (without('labels'), "Answering.predict must return the 'labels' of the batch, .*, got none"),
        (lambda answer: answer | {'ids': answer['ids'][:-1]}, "must return the 'ids' of the batch"),
        (lambda answer: answer | {'logits': answer['logits'][:-1]}, "'logits' must have a row for each of "),
    ],
)
def test_a_prediction_has_a_row_for_every_sample_and_says_which_it_is(changed, line, monkeypatch):
    monkeypatch.setattr(Answering, 'changed', staticmethod(changed))
    with pytest.raises(InputError, match=line):
        prepare(recipe('Answering'))


@pytest.mark.parametrize(
    ('networked', 'line'),
    [
        (lambda model: {'': nn.Sequential(model.backbone, model.head)}, 'must be a Network'),
        (lambda model: {'a': Network(model.backbone, model.head)}, "none of 'a' is ''"),
    ],
)
def test_wrong_networks_are_told_before_the_run(networked, line, monkeypatch):
    monkeypatch.setattr(Answering, 'networked', staticmethod(networked))
    with pytest.raises(InputError, match=line):
        prepare(recipe('Answering'))


@pytest.mark.parametrize(
    ('returned', 'line'),
    [
        (lambda logits: {'loss': logits.mean().detach()}, 'no loss depends on a trainable parameter'),
        (lambda logits: {'loss': logits.mean(), 'lr': logits.mean()}, "the model's loss gives 'lr'"),
    ],
)
def test_losses_that_cannot_be_trained_on_or_recorded_are_told_before_the_run(returned, line, monkeypatch):
    monkeypatch.setattr(Returning, 'returned', staticmethod(returned))
    with pytest.raises(InputError, match=line):
        prepare(recipe('Returning'))
