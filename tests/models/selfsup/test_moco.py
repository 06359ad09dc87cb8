"""MoCo: losses, keys, queue and momentum encoder over a scripted run, against plain steps; each variant by value."""

import copy
from collections import deque
from math import exp, log

import pytest
import torch
from torch import nn

from openmix.engine.sync_batch_norm import convert_sync_batch_norm
from openmix.errors import InputError
from openmix.memory import training_keys
from openmix.registry import MODELS

N, SIDE, QUEUE = 6, 16, 12
BACKBONE = dict(type='ThinResNet', depth=8, width=4)


def built(seed=0, **options):
    torch.manual_seed(seed)
    model = MODELS.build(dict(type='MoCo', backbone=BACKBONE, width=5, queue=QUEUE, momentum=0.8) | options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.start()
    return model.double()


def images(seed=0, n=N):
    return torch.randn(n, 2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


def nll(z, positive, queue, temperature=0.2):
    dots = [float(z @ key) / temperature for key in (positive, *queue)]
    return log(sum(map(exp, dots))) - dots[0]


def test_a_scripted_run():
    """Loss, the gradient-free keys, the order of the queue and the moving average, step by step."""
    model = built()
    ours, theirs = model, copy.deepcopy(model)
    net = nn.Sequential(theirs.backbone, theirs.projector)
    slow = copy.deepcopy(net)
    slow.load_state_dict(net.state_dict())
    queue = deque(theirs.queue.clone(), maxlen=QUEUE)
    opt, their_opt = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (ours, net))
    for step in range(5):
        x = images(step)
        loss = ours.loss({'inputs': x})['loss']
        opt.zero_grad()
        loss.backward()
        z = unit(net(x[:, 0]))
        with torch.no_grad():
            k = unit(slow(x[:, 1]))
        wanted = sum(nll(z[n], k[n], queue) for n in range(N)) / N
        assert loss.item() == pytest.approx(wanted, rel=1e-9)
        own = (z * k).sum(1, keepdim=True)
        dots = torch.cat([own, z @ torch.stack(list(queue)).T], 1) / 0.2
        their_opt.zero_grad()
        nn.functional.cross_entropy(dots, torch.zeros(N, dtype=torch.int64)).backward()
        for p, q in zip([*ours.backbone.parameters(), *ours.projector.parameters()], net.parameters()):
            torch.testing.assert_close(p.grad, q.grad)
        assert all(p.grad is None for p in ours.encoder.parameters())
        queue.extend(k)
        opt.step()
        their_opt.step()
        ours.after_step()
        with torch.no_grad():
            for p, q in zip(slow.parameters(), net.parameters()):
                p.mul_(0.8).add_(0.2 * q)
        # The place of the oldest key is `position`.
        assert int(ours.position) == (step + 1) * N % QUEUE
        torch.testing.assert_close(ours.queue.roll(-int(ours.position), 0), torch.stack(list(queue)))
        for p, q in zip(ours.encoder.parameters(), slow.parameters()):
            torch.testing.assert_close(p, q)
        for p, q in zip(ours.encoder.buffers(), slow.buffers()):  # batch norm of its own passes
            torch.testing.assert_close(p, q)


def test_the_backward_pass_needs_the_old_queue():
    model = built()
    before = model.queue
    kept = before.clone()
    model.loss({'inputs': images()})['loss'].backward()
    assert torch.equal(before, kept)
    assert not torch.equal(model.queue, kept)


def test_the_backbone_alone_is_published():
    model = built(policy=dict(type='Mixup'))
    kept = model.state_dict().keys() - training_keys(model)
    assert {key for key in kept if not key.startswith('data_preprocessor.')} == {
        f'backbone.{key}' for key in model.backbone.state_dict()
    }


def keys_of(model, x):
    return unit(copy.deepcopy(model.encoder)(x, 'projector')).detach()


def slow_mixed(model, x, partner, lam, views, siblings=False):
    """The loss of Mixup image by image, with the keys of the variant."""
    query, key = x[:, 0], x[:, 1]
    other = key[partner] if views == 'both' else query[partner]
    mixed = torch.stack([lam * a + (1 - lam) * b for a, b in zip(query, other)])
    z = unit(nn.Sequential(model.backbone, model.projector)(mixed)).detach()
    of_query, of_key = keys_of(model, query), keys_of(model, key)
    first = of_query if views == 'same' else of_key
    second = {'cross': of_key, 'both': of_query, 'same': of_query}[views]
    total = 0.0
    for n in range(N):
        rest = list(model.queue)
        own, theirs = ([k for m, k in enumerate(of_key) if siblings and m != place] for place in (n, int(partner[n])))
        total += lam * nll(z[n], first[n], [*own, *rest])
        total += (1 - lam) * nll(z[n], second[partner[n]], [*theirs, *rest])
    return total / N


@pytest.mark.parametrize(
    ('options', 'siblings'),
    [
        (dict(views='cross'), False),
        (dict(views='both'), False),
        (dict(views='same'), False),
        (dict(views='cross', weights=(0, 1), negatives='batch', partners='permuted'), True),  # i-Mix
        (dict(views='cross', partners='reversed'), False),  # Un-Mix
        (dict(views='cross', weights=(0.5, 0.25)), False),  # WBSIM, with Mixup for CutMix
    ],
)
def test_the_loss_of_each_variant(options, siblings):
    model = built(policy=dict(type='Mixup'), **options).eval()
    model.policy = model.policy.holding(0.25)
    x, partner = images(), torch.tensor([2, 0, 1, 5, 3, 4])
    if options.get('partners') == 'reversed':
        partner = torch.tensor([5, 4, 3, 2, 1, 0])
    weights = options.get('weights', (1, 1))
    wanted = weights[1] * slow_mixed(model, x, partner, 0.25, options['views'], siblings)
    with pytest.MonkeyPatch.context() as patch:
        if options.get('partners') != 'reversed':
            patch.setattr('openmix.models.selfsup.moco.partners_of', lambda *_: partner)
        before, keys = model.queue.clone(), keys_of(model, x[:, 1])
        found = model.loss({'inputs': x})
    assert found['mixed_loss'].item() == pytest.approx(wanted, rel=1e-6)
    assert ('loss' in found) == bool(weights[0])
    assert found['chance_nats'].item() == pytest.approx(log(QUEUE + (N if siblings else 1)))
    # Keys of clean key views alone enter the queue.
    torch.testing.assert_close(model.queue[:N], keys)
    assert torch.equal(model.queue[N:], before[N:])


@pytest.mark.parametrize('views', ['cross', 'both'])
def test_from_the_epoch_of_its_policy_on_the_loss_is_the_clean_one(views):
    policy = dict(type='Until', policy=dict(type='Mixup', lam_range=(0.3, 0.7)), epoch=1)
    model = built(policy=policy, views=views).eval()
    for epoch in (0, 1):
        model.before_epoch(epoch)
        losses = copy.deepcopy(model).loss({'inputs': images()})
        assert (losses['mixed_loss'].item() == pytest.approx(losses['loss'].item())) == (epoch == 1)


def test_un_mix_reverses_as_its_released_code():
    """lam * L(z, k) + (1 - lam) * L(flipped z, k) is the loss with reversed partners."""
    model = built(policy=dict(type='Mixup'), partners='reversed').eval()
    model.policy = model.policy.holding(0.25)
    x = images()
    mixed = 0.25 * x[:, 0] + 0.75 * x[:, 0].flip(0)
    z = unit(nn.Sequential(model.backbone, model.projector)(mixed)).detach()
    k = keys_of(model, x[:, 1])
    wanted = (
        sum(0.25 * nll(z[n], k[n], model.queue) + 0.75 * nll(z[N - 1 - n], k[n], model.queue) for n in range(N)) / N
    )
    assert model.loss({'inputs': x})['mixed_loss'].item() == pytest.approx(wanted, rel=1e-6)


def test_dot_products_stay_exact_under_autocast():
    model = built(policy=dict(type='Mixup')).float()
    z = torch.nn.functional.normalize(torch.randn(4, 5), dim=1)
    with torch.autocast('cpu', torch.bfloat16):
        found, *_ = model.dots(z, z)
    assert found.dtype == torch.float32
    wanted = z.double() @ torch.cat([z, model.queue]).double().T
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)


def test_shuffled_keys_are_those_of_their_images():
    """With split batch norm the parts are others than those of the queries, and the order is that of the images."""
    model, plain = built(bn_splits=2), built(bn_splits=2, shuffle=False)
    x = images()[:, 1]
    torch.testing.assert_close(model.eval().keys(x), plain.eval().keys(x))
    plain.train(), model.train()
    # One of ten permutations leaves the parts as they are.
    assert any(not torch.allclose(model.keys(x), plain.keys(x)) for _ in range(8))


def test_parts_of_no_batch_norm_are_refused():
    """Fault: a transformer has none, so splitting and shuffling would do nothing."""
    vit = dict(type='TimmBackbone', name='vit_tiny_patch16_224', img_size=SIDE, patch_size=4, embed_dim=24, depth=1)
    with pytest.raises(InputError, match='bn_splits is 2, and the network has no batch norm to split'):
        built(bn_splits=2, backbone=vit | dict(num_heads=2))
    with pytest.raises(InputError, match='SplitBatchNorm'):
        convert_sync_batch_norm(built(bn_splits=2), 'naive')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(queue=13), 'no multiple of a batch of 6 images'),
        (dict(bn_splits=4), 'no 4 equal parts'),
        (dict(bn_splits=6), 'no 6 equal parts'),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        built(**options).loss({'inputs': images()})


def test_other_input_that_is_refused():
    model = built()
    with pytest.raises(InputError, match='batch norm over 1 image'):
        model.loss({'inputs': images(n=1)})
    with pytest.raises(InputError, match='two views'):
        model.loss({'inputs': images()[:, 0]})
    with pytest.raises(InputError, match='11 training images'):
        model.check_data(range(QUEUE - 1))
    model.check_data(range(QUEUE))


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(views='one'), 'views'),
        (dict(weights=(1, 1, 1)), 'two numbers'),
        (dict(weights=(1, 0), policy=dict(type='Mixup')), 'leave policy out'),
        (dict(weights=(0, 1)), 'no policy'),
        (dict(policy=dict(type='NoMix')), 'mixes nothing'),
        (dict(policy=dict(type='AutoMix')), "mixer_losses of AutoMix are of 'labels'"),
        (dict(policy=dict(type='OneOf', policies=[dict(type='CutMix'), dict(type='NoMix')])), 'mixes nothing'),
        (dict(policy=dict(type='Mixup'), views='both', negatives='batch'), 'two keys of every image'),
        (dict(policy=dict(type='GuidedMixup')), r'GuidedMixup chooses .* MoCo draws them \(partners\)'),
        (dict(policy=dict(type='Until', policy=dict(type='GuidedMixup'), epoch=9)), 'GuidedMixup chooses the partners'),
        (dict(policy=dict(type='RecursiveMix')), 'RecursiveMix adds losses of labels'),
        (dict(labels='given'), 'there is none'),
        (dict(policy=dict(type='Mixup'), labels='pseudo'), 'labels'),
    ],
)
def test_options_that_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        built(**options)


@pytest.mark.parametrize('name', ['PuzzleMix', 'InterIntra'])
def test_a_policy_of_labels_is_refused_even_if_the_images_have_some(name):
    model = built(policy=dict(type=name)).float()
    with pytest.raises(InputError, match='label'):
        model.loss({'inputs': images().float(), 'labels': torch.arange(N)})


@pytest.mark.parametrize('views', ['cross', 'both'])
def test_given_classes_tell_the_policy_which_pairs_are_of_one(views):
    """Pairs of one class have half of each image here, pairs of two classes have nothing of the partner."""
    policy = dict(type='InterIntra', intra_alpha=1e6, inter='interpolate', inter_alpha=1e-3)
    model = built(policy=policy, labels='given', views=views, weights=(0, 1), partners='reversed')
    seen = {}
    backbone = model.backbone.forward
    model.backbone.forward = lambda x: seen.setdefault('mixed', x) is None or backbone(x)
    x, y = images(), torch.tensor([0, 1, 2, 3, 1, 4])  # images 1 and 4 are partners
    model.loss({'inputs': x, 'labels': y})
    query, partner = x[:, 0], (x[:, 1] if views == 'both' else x[:, 0]).flip(0)
    half = torch.isclose(seen['mixed'], (query + partner) / 2, atol=0.01).flatten(1).all(1)
    assert half.tolist() == [False, True, False, False, True, False]
    for other in (0, 2, 3, 5):
        one = seen['mixed'][other]
        assert torch.allclose(one, query[other]) or torch.allclose(one, partner[other])
    with pytest.raises(InputError, match='the images have none'):
        model.loss({'inputs': x})
