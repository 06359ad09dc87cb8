"""Self-Tuning: its losses, queues and momentum encoder over a scripted run, against loops over single images."""

import copy
from collections import Counter, deque
from math import exp, log

import pytest
import torch
from algorithm_cases import ALGORITHMS
from device_waits import DEVICE, no_waits
from torch import nn
from toys import CLASSES, B, U, batch_for, method, nll, total_of

from openmix.algorithm import algorithm_of
from openmix.config import load_config
from openmix.engine.initial_weights import InitialWeights
from openmix.engine.launch import prepare
from openmix.engine.runner import Runner
from openmix.errors import InputError
from openmix.models.transfer.self_tuning import group_contrast
from openmix.ops.class_queues import pushed
from openmix.overrides import apply_overrides
from openmix.registry import MODELS

WIDTH, DEPTH = 3, 8
SETTINGS = [dict(moves='step', query_passes=1), dict(moves='pass', query_passes=2)]
both = pytest.mark.parametrize('setting', SETTINGS, ids=['paper', 'released'])


def built(**options):
    return method('SelfTuning', **{'projector_width': WIDTH, 'queue': DEPTH, 'momentum': 0.8, **options})


def units(*shape, seed=0):
    z = torch.randn(*shape, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(z, dim=-1)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def pgc(queries, keys, queues, classes, temperature):
    """Compute the loss image by image: each positive against all keys, its own key and those of all classes."""
    total = 0.0
    for q, own, c in zip(queries, keys, classes):
        positive = [exp(dot(q, k) / temperature) for k in (own, *queues[c])]
        negative = [exp(dot(q, k) / temperature) for other, rows in enumerate(queues) if other != c for k in rows]
        everything = sum(positive) + sum(negative)
        total -= sum(log(value / everything) for value in positive) / len(positive)
    return total / len(queries)


@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_the_contrast_is_that_of_single_images(temperature):
    query, key, queues, y = units(6, seed=1), units(6, seed=2), units(CLASSES, 4, seed=3), torch.arange(6) % CLASSES
    wanted = pgc(query.tolist(), key.tolist(), queues.tolist(), y.tolist(), temperature)
    found = group_contrast(query, key, queues, y, temperature)
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    # The released code minimises a divergence from the uniform distribution over the group.
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queues.flatten(0, 1).T], 1) / temperature
    target = torch.zeros_like(logits)
    target[:, 0] = 1 / 5
    for row, c in enumerate(y):
        target[row, 1 + 4 * c : 5 + 4 * c] = 1 / 5
    divergence = nn.functional.kl_div(logits.log_softmax(1), target, reduction='batchmean')
    assert divergence.item() == pytest.approx(wanted - log(5), rel=1e-12)
    in_single = group_contrast(query.float(), key.float(), queues.float(), y, temperature)
    assert in_single.item() == pytest.approx(wanted, rel=1e-4)


def test_its_gradient_is_that_of_finite_differences():
    query, key, queues, y = units(3, seed=1), units(3, seed=2), units(CLASSES, 2, seed=3), torch.tensor([0, 4, 4])
    assert torch.autograd.gradcheck(
        lambda q: group_contrast(nn.functional.normalize(q, dim=1), key, queues, y, 0.2), query.requires_grad_()
    )


def test_queues_over_a_history_of_pushes():
    """One key after another: the oldest of its class is replaced, also where a batch has more keys than places."""
    g, depth = torch.Generator().manual_seed(0), 4
    queues, position = units(CLASSES, depth), torch.zeros(CLASSES, dtype=torch.int64)
    wanted, place, seen = queues.tolist(), [0] * CLASSES, Counter()
    in_order = [deque(rows, maxlen=depth) for rows in wanted]
    for step in range(40):
        count = int(torch.randint(1, 13, (), generator=g))
        # Few classes in some steps, so that one of them has more keys than places.
        classes = torch.randint(2 if step % 3 == 0 else CLASSES, (count,), generator=g)
        keys, before = units(count, seed=step), queues.clone()
        old, old_position = queues, position
        queues, position = pushed(queues, position, keys, classes)
        assert torch.equal(old, before), 'the backward pass needs the old ones'
        for key, c in zip(keys.tolist(), classes.tolist()):
            wanted[c][place[c]] = key
            place[c] = (place[c] + 1) % depth
            in_order[c].append(key)
        counts = classes.bincount(minlength=CLASSES)
        seen['overflow'] += int(counts.max()) > depth
        seen['wrap'] += bool((position < old_position).any())
        seen['class without keys'] += int(counts.min()) == 0
        assert queues.tolist() == wanted, step
        assert position.tolist() == place, step
    assert all(seen[what] > 2 for what in ('overflow', 'wrap', 'class without keys')), seen
    for rows, first, kept in zip(queues.tolist(), place, in_order):
        assert rows[first:] + rows[:first] == list(kept), 'the position is that of the oldest key'


def test_a_step_waits_for_no_values_of_the_device():
    classes = torch.zeros(3, dtype=torch.int64, device=DEVICE)
    query = torch.zeros(3, WIDTH, device=DEVICE, requires_grad=True)
    queues, position = torch.zeros(CLASSES, 4, WIDTH, device=DEVICE), torch.zeros_like(classes).new_zeros(CLASSES)
    with no_waits():
        group_contrast(query, query.detach(), queues, classes, 0.07).backward()
        pushed(queues, position, query.detach(), classes)


def embedded(backbone, projector, images):
    with torch.no_grad():
        return nn.functional.normalize(projector(backbone(images)), dim=1)


def reference_step(state, model, data):
    """Compute the losses of a step from copies of all networks, in the order of the released code's loop.

    Args:
        state: `key`, the momentum encoder's modules; `queues` and `place`, nested lists.
        model: its current weights are read.
        data: the batch.
    """
    query = copy.deepcopy(nn.ModuleList([model.backbone, model.projector, model.head]))
    backbone, projector, head = query
    twice, found = model.moves == 'pass', {}

    def move():
        for old, new in zip(state['key'].parameters(), [*model.backbone.parameters(), *model.projector.parameters()]):
            old.data = old.data * model.momentum + new.data * (1 - model.momentum)

    for pool, number in (('labelled', B), ('unlabelled', U)):
        images, other = data[pool]['inputs'].unbind(1)
        with torch.no_grad():
            logits = head(backbone(images)).tolist()
        classes = data[pool]['labels'].tolist() if pool == 'labelled' else [z.index(max(z)) for z in logits]
        if twice:
            move()
        queries, keys = embedded(backbone, projector, images).tolist(), embedded(*state['key'], other).tolist()
        found[f'{pool}_pgc_loss'] = pgc(queries, keys, state['queues'], classes, model.temperature)
        if pool == 'labelled':
            found['labelled_loss'] = sum(nll(z, c) for z, c in zip(logits, classes)) / number
        for key, c in zip(keys, classes):
            state['queues'][c][state['place'][c]] = key
            state['place'][c] = (state['place'][c] + 1) % DEPTH
    return found, (None if twice else move)


@both
def test_a_run_is_that_of_a_loop_over_images(setting):
    """Losses, queues and momentum encoder of several steps, labelled keys seen by the unlabelled images of a step."""
    model = built(**setting, weight=1.0, temperature=0.3)
    with torch.no_grad():
        model.backbone.linear.weight.mul_(2)  # weights that were loaded after the copy was made
    model.start()
    state = {
        'key': copy.deepcopy(nn.ModuleList([model.backbone, model.projector])),
        'queues': model.queue.tolist(),
        'place': [0] * CLASSES,
    }
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.2)
    for step in range(6):
        data = batch_for(model, seed=step)
        wanted, moved_after = reference_step(state, model, data)
        found = model.loss(data)
        for name, value in wanted.items():
            assert found[name].item() == pytest.approx(value, rel=1e-9), (name, step)
        optimizer.zero_grad()
        total_of(model, found).backward()
        optimizer.step()
        model.after_step()
        if moved_after:
            moved_after()
        torch.testing.assert_close(model.queue, torch.tensor(state['queues'], dtype=torch.float64))
        assert model.position.tolist() == state['place']
        encoder = [*model.encoder.backbone.parameters(), *model.encoder.heads.parameters()]
        for one, other in zip(encoder, state['key'].parameters(), strict=True):
            torch.testing.assert_close(one, other.detach())
    assert sum(model.position) > 0
    assert not torch.equal(model.encoder.backbone.linear.weight, model.backbone.linear.weight)


@pytest.mark.parametrize(('query_passes', 'moved'), [(1, 2), (2, 3)])
def test_passes_that_move_statistics(query_passes, moved):
    model = built(query_passes=query_passes)
    found = model.loss(batch_for(model))
    assert int(model.backbone.norm.num_batches_tracked) == moved
    assert int(model.encoder.backbone.norm.num_batches_tracked) == 2
    total_of(model, found).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_weights_of_the_losses():
    plain, weighed = (
        built(**given).loss(batch_for(built())) for given in ({}, dict(weight=2.0, unlabelled_weight=0.5))
    )
    assert weighed['labelled_pgc_loss'].item() == pytest.approx(2 * plain['labelled_pgc_loss'].item())
    assert weighed['unlabelled_pgc_loss'].item() == pytest.approx(plain['unlabelled_pgc_loss'].item() / 2)
    assert torch.equal(weighed['labelled_loss'], plain['labelled_loss'])


def test_a_projector_of_two_layers():
    model = built(projector_layers=2)
    assert [type(one).__name__ for one in model.projector] == ['Linear', 'ReLU', 'Linear']
    total_of(model, model.loss(batch_for(model))).backward()
    model.start()
    model.after_step()


def test_queues_stay_in_full_precision_under_autocast():
    model = built().float()
    data = batch_for(model)
    for pool in data.values():
        pool['inputs'] = pool['inputs'].float()
    twin = copy.deepcopy(model)
    with torch.autocast('cpu', torch.bfloat16):
        low = model.loss(data)
    full = twin.loss(data)
    assert model.queue.dtype == torch.float32
    assert torch.allclose(model.queue.norm(dim=2), torch.ones(()), atol=1e-5)
    assert not torch.equal(model.queue, twin.queue)
    for name in ('labelled_pgc_loss', 'unlabelled_pgc_loss'):
        assert low[name].item() == pytest.approx(full[name].item(), rel=0.1)


def test_the_branch_mixes_the_queries():
    seen = []
    policy = dict(type='Mixup', alpha=1.0)
    model = built(branch=dict(policy=policy, lam=(0, 0.5), loss=dict(type='decoupled_ce', sides='own')))
    data = batch_for(model)
    model.branch.policy.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = model.loss(data)
    assert found['branch_loss'] > 0
    x, others = data['labelled']['inputs'][:, 0], data['unlabelled']['inputs'][:, 0]
    assert torch.equal(seen[0][:B], x)
    assert all((row == others).flatten(1).all(1).any() for row in seen[0][B:])


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'queue': 0}, 'SelfTuning: queue must be >= 1'),
        ({'temperature': 0.0}, 'SelfTuning: temperature must be > 0'),
        ({'momentum': 1.5}, r'SelfTuning: momentum must be in \[0, 1\]'),
        ({'moves': 'never'}, "SelfTuning: moves must be 'step' or 'pass'"),
        ({'query_passes': 3}, r'SelfTuning: query_passes must be in \[1, 2\]'),
        ({'projector_layers': 0}, r'SelfTuning: projector_layers must be in \[1, 2\]'),
        ({'weight': -1.0}, 'SelfTuning: weight must be >= 0'),
        ({'head': dict(type=nn.Linear, out_features=5)}, 'SelfTuning: Linear has no num_classes'),
    ],
)
def test_an_option_out_of_range_is_refused(options, line):
    with pytest.raises(InputError, match=line):
        built(**options)


def test_the_momentum_encoder_starts_from_the_weights_that_a_run_starts_from(tmp_path):
    """They are loaded after the model is built, and the copy is made after that."""
    recipe, file, alone = tmp_path / 'recipe.py', tmp_path / 'weights.pth', {}
    recipe.write_text(ALGORITHMS['SelfTuning'].text(tmp_path))
    for part in ('train', 'val', 'test'):
        alone |= {f'{part}_dataloader.num_workers': 0, f'{part}_dataloader.persistent_workers': False}
    changes = {'model.momentum': 1.0, 'train_cfg.max_epochs': 1, 'train_dataloader.dataset.unlabelled.subset': 20}
    cfg = prepare(apply_overrides(load_config(recipe), changes | alone))
    cfg.work_dir = str(tmp_path / 'run')
    runner = Runner.from_cfg(cfg)
    given, model = MODELS.build(cfg.model.backbone), algorithm_of(runner.model)
    for parameter in given.parameters():
        nn.init.uniform_(parameter, 0.1, 0.2)
    torch.save(given.state_dict(), file)
    runner.initial = InitialWeights.read(file)
    runner.train()
    for name, value in given.named_parameters():
        assert torch.equal(model.encoder.backbone.get_parameter(name), value), name
        assert not torch.equal(model.backbone.get_parameter(name), value), name


def test_a_batch_without_keys_is_refused():
    model = built()
    data = batch_for(model)
    data['labelled']['inputs'] = data['labelled']['inputs'][:, 0]
    with pytest.raises(InputError, match=r'reads 2 views of every labelled image \(query, key\), and the batch has 1'):
        model.loss(data)


def test_a_queue_that_a_batch_could_fill_more_than_once_is_refused(monkeypatch):
    model = built(queue=U)
    model.loss(batch_for(model))
    monkeypatch.setattr('openmix.models.transfer.self_tuning.get_world_size', lambda: 2)
    line = f'SelfTuning: queue is {U}, and a batch of 2 x {U} images may have {2 * U} of one class; set model.queue='
    with pytest.raises(InputError, match=line):
        model.loss(batch_for(model))


def test_the_command_refuses_it_before_the_run(tmp_path, call):
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(ALGORITHMS['SelfTuning'].text(tmp_path))
    options = ['model.queue=7', 'train_dataloader.batch_size=12']
    code, _, error = call('train.py', recipe, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert code == 2
    (line,) = [said for said in error.splitlines() if 'WARNING' not in said]
    assert line.startswith('error: ')
    assert 'SelfTuning: queue is 7, and a batch of 8 images may have 8 of one class' in line
    assert prepare(load_config(recipe)).model.queue == 16
