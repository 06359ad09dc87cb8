"""AMix-I: MoCo with a learned policy, whose block is trained through the borrowed momentum encoder."""

import copy

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.mixups.mix_block import mask_loss
from openmix.mixups.targets import Target
from openmix.models.selfsup.key_targets import key_targets
from openmix.ops.schedules import cosine
from openmix.registry import MODELS

N, SIDE, QUEUE = 6, 16, 12
BACKBONE = dict(type='ThinResNet', depth=8, width=4)
INFO_NCE, BCE = dict(type='info_nce', of='queue'), dict(type='pair_bce', of='keys', temperature=0.2)
AMIX_I = dict(type='AMix', mixer_losses=[INFO_NCE, BCE])
PARTNER, OTHER = torch.tensor([2, 0, 1, 5, 3, 4]), torch.tensor([1, 2, 3, 4, 5, 0])
both_variants = pytest.mark.parametrize('views', ['cross', 'both'])


def built(policy=AMIX_I, views='cross', **options):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type='MoCo', backbone=BACKBONE, width=5, queue=QUEUE, momentum=0.8, policy=policy, views=views) | options
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.start()
    model.before_step(0, 10)
    return model.double()


def images(seed=0, n=N):
    return torch.randn(n, 2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def losses_of(model, x, partners=(PARTNER, OTHER)):
    """The losses of a step with these partners, for the query network and for the block."""
    left = list(partners)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.models.selfsup.moco.partners_of', lambda *_: left.pop(0))
        return model.loss({'inputs': x})


def slopes(model, loss):
    """The names of the parameters that a loss has a gradient for, without 'parameter'."""
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad))
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {name for name, slope in zip(names, found) if slope is not None and slope.any()}


@both_variants
@pytest.mark.parametrize('mixer_losses', [[INFO_NCE], [BCE], [INFO_NCE, BCE]], ids=['infoNCE', 'BCE', 'both'])
def test_each_loss_trains_its_own_network(views, mixer_losses):
    """Faults: a contrastive loss that moves the block, a loss of the mixer that moves anything else."""
    model = built(dict(AMIX_I, mixer_losses=mixer_losses), views)
    losses = losses_of(model, images())
    wanted = {'mixer_loss': 'policy.mixer.', 'mask_loss': 'policy.mixer.'}
    wanted |= dict.fromkeys(('loss', 'mixed_loss'), ('backbone.', 'projector.'))
    for name, part in wanted.items():
        taught = slopes(model, losses[name])
        assert taught
        assert all(one.startswith(part) for one in taught)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


def nll(z, positive, queue):
    dots = [(z @ key) / 0.2 for key in (positive, *queue)]
    return torch.stack(dots).logsumexp(0) - dots[0]


@both_variants
def test_the_losses_and_the_gradient_of_the_block_are_those_of_plain_steps(views):
    """Image by image, with one backward pass through everything; batch norm by running statistics."""
    model = built(views=views).eval()
    model.policy = model.policy.holding(0.3)
    x = images()
    found = losses_of(model, x)
    block = list(model.policy.mixer.parameters())
    slopes = torch.autograd.grad(found['mixer_loss'] + found['mask_loss'], block)

    encoder = copy.deepcopy(model.encoder)
    queue = built(views=views).queue
    query, key = x[:, 0], x[:, 1]
    of_query, of_key = (unit(encoder(view, 'projector')) for view in (query, key))
    features = {name: model.policy.feature_site(encoder.backbone, view) for name, view in (('q', query), ('k', key))}
    lam = torch.full((N,), 0.3)

    def mixed(partner):
        other = 'k' if views == 'both' else 'q'
        mask = model.policy.mixer(features['q'], features[other][partner], lam, (SIDE, SIDE))
        theirs = key if views == 'both' else query
        return mask, torch.stack([mask[n] * query[n] + (1 - mask[n]) * theirs[partner[n]] for n in range(N)])

    def positives(partner):
        return of_key, (of_query if views == 'both' else of_key)[partner]

    mask, blend = mixed(OTHER)
    z = unit(encoder(blend, 'projector'))
    own, theirs = positives(OTHER)
    total = 0.0
    for n in range(N):
        total = total + 0.3 * nll(z[n], own[n], queue) + 0.7 * nll(z[n], theirs[n], queue)
        gap = (z[n] @ own[n] - z[n] @ theirs[n]) / 0.2
        total = total - 0.3 * nn.functional.logsigmoid(gap) - 0.7 * nn.functional.logsigmoid(-gap)
    of_mask = 0.1 * mask_loss(mask, lam, 0.1, 1.0, 1.0)
    assert found['mixer_loss'].item() == pytest.approx(total.item() / N, rel=1e-6)
    assert found['mask_loss'].item() == pytest.approx(of_mask.item(), rel=1e-6)
    for one, other in zip(slopes, torch.autograd.grad(total / N + of_mask, block)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)

    with torch.no_grad():
        z = unit(nn.Sequential(model.backbone, model.projector)(mixed(PARTNER)[1]))
    own, theirs = positives(PARTNER)
    wanted = sum(0.3 * nll(z[n], own[n], queue) + 0.7 * nll(z[n], theirs[n], queue) for n in range(N)) / N
    assert found['mixed_loss'].item() == pytest.approx(wanted.item(), rel=1e-6)
    # Keys of clean key views alone enter the queue.
    torch.testing.assert_close(model.queue[:N], of_key)


@pytest.mark.parametrize('bn_splits', [1, 2])
def test_every_image_keeps_its_own_features(bn_splits):
    """Fault: features of shuffled images, which belong to others than the images that are mixed."""
    model = built(views='both', bn_splits=bn_splits).eval()
    x = images()[:, 1]
    embeddings, features = model.encoded(x, model.policy.feature_site)
    torch.testing.assert_close(unit(embeddings), model.keys(x))
    torch.testing.assert_close(features, model.policy.feature_site(model.encoder.backbone, x))


def test_statistics_of_the_momentum_encoder_are_those_of_clean_images():
    """The mixed images pass through it by the statistics of their batch, and leave its running ones alone."""
    model = built(views='both')
    alone = copy.deepcopy(model)
    losses_of(model, images())
    with torch.no_grad():
        alone.keys(images()[:, 1])
        alone.keys(images()[:, 0])
    moved = dict(built().encoder.named_buffers())
    for (name, one), other in zip(model.encoder.named_buffers(), alone.encoder.buffers()):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, moved[name])


def test_mixed_keys_lie_between_and_beyond_the_keys_of_both_views():
    """Each number of a key has its own share; both views of an image have the same ones."""
    keys = unit(torch.randn(2 * N, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    others = keys.roll(N, 0)
    queue = Target(lambda z: z, torch.arange(2 * N))
    basis = torch.eye(5, dtype=torch.float64)  # unit vectors
    for name, low, high in (('interpolated_keys', 0, 1), ('extrapolated_keys', 1, 2)):
        target = key_targets([name], lambda z: z, keys, queue, others)[name]
        mixed = target.logits(basis).T
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(2 * N, dtype=torch.float64))
        # With the length c the share is (c mixed - other) / (key - other); both views give the same share.
        a, b, d = mixed[:N], mixed[N:], (keys - others)[:N]
        for n in range(N):
            system = torch.stack([a[n], b[n]], 1)  # c a + e b = key + other
            scale = torch.linalg.lstsq(system, (keys + others)[n][:, None]).solution[:, 0]
            share = (scale[0] * a[n] - others[n]) / d[n]
            torch.testing.assert_close(scale[0] * a[n] + scale[1] * b[n], (keys + others)[n])
            assert ((share > low) & (share < high)).all()
            assert share.std() > 0
        assert torch.equal(target.y, torch.arange(2 * N))


def test_dot_products_with_keys_stay_exact_under_autocast():
    z, keys = (torch.nn.functional.normalize(torch.randn(N, 5), dim=1) for _ in range(2))
    target = key_targets(['keys'], lambda z: z, keys, Target(lambda z: z, torch.arange(N)))['keys']
    with torch.autocast('cpu', torch.bfloat16):
        found = target.logits(z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), z.double() @ keys.double().T, rtol=0, atol=1e-5)


def test_the_weight_of_a_loss_may_end_at_zero():
    """On half a cosine over the training; the other loss stays."""
    x, found = images(), []
    for schedule in ('constant', 'cosine'):
        model = built(dict(AMIX_I, mixer_losses=[INFO_NCE, dict(BCE, schedule=schedule)])).eval()
        model.policy = model.policy.holding(0.3)
        for step in (0, 4, 10):
            model.before_step(step, 10)
            found.append(losses_of(copy.deepcopy(model), x)['mixer_loss'].item())
    alone = built(dict(AMIX_I, mixer_losses=[INFO_NCE])).eval()
    alone.policy = alone.policy.holding(0.3)
    without = losses_of(alone, x)['mixer_loss'].item()
    bce = found[0] - without
    assert found[:3] == [found[0]] * 3
    assert found[3:] == pytest.approx([without + cosine(1.0, 0.0, step / 10) * bce for step in (0, 4, 10)])


def test_gamma_is_clamped_after_a_step():
    model = built()
    with torch.no_grad():
        model.policy.mixer.gamma.fill_(3.0)
    model.after_step()
    assert model.policy.mixer.gamma == 1


def test_of_several_policies_the_learned_one_trains_its_block():
    policy = dict(type='OneOf', policies=[dict(type='Mixup'), AMIX_I])
    model = built(policy, 'both').float()
    assert model.leaves_parameters_unused
    seen = []
    for way in model.ways():
        with way:
            seen.append('mixer_loss' in model.loss({'inputs': images().float()}))
    assert seen == [False, True]


def test_the_momentum_encoder_stands_in_a_checkpoint_once():
    keys = built().state_dict().keys()
    assert {key for key in keys if '.encoder.' in f'.{key}'} == {key for key in keys if key.startswith('encoder.')}
    assert any(key.startswith('policy.mixer.') for key in keys)


@pytest.mark.parametrize(
    ('policy', 'options', 'line'),
    [
        (dict(type='AMix'), {}, "mixer_losses of AMix are of 'labels', and there are no such targets, but keys, queue"),
        (dict(AMIX_I, mixer_losses=[dict(BCE, of='extrapolated_keys')]), {}, "are of 'extrapolated_keys'"),
        (dict(AMIX_I, momentum=0.9), {}, 'leave momentum, momentum_end and momentum_hold out'),
        (dict(AMIX_I, heads='split'), {}, "heads='shared'"),
        (dict(AMIX_I, mixer_losses=[dict(BCE, of=3)]), {}, 'of must be the name of a target'),
        (dict(AMIX_I, mixer_losses=[dict(BCE, schedule='line')]), {}, 'schedule must be'),
        (dict(AMIX_I, site='layer9'), {}, "no site 'layer9'"),
    ],
)
def test_options_that_are_refused(policy, options, line):
    with pytest.raises(InputError, match=line):
        built(policy, **options)
