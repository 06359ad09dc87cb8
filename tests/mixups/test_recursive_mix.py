"""Compare steps of RecursiveMix with a loop over images, pixels and classes, written from its paper."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from openmix.errors import InputError
from openmix.losses import decoupled_bce, decoupled_ce, info_nce, jensen_shannon, mix_bce, mix_ce, mix_mse, pair_bce
from openmix.mix import Mix
from openmix.mixups import MixContext, OneOf, RecursiveMix, Until
from openmix.mixups.recursive_mix import box_of, pooled
from openmix.models.classifier import MixClassifier
from openmix.models.heads import LinearHead
from openmix.network import Network


def model_of(loss='mix_ce', **options):
    torch.manual_seed(0)
    backbone = dict(type='ThinResNet', depth=8, width=4)
    head = dict(type='LinearHead', num_classes=5, init_std=1.0, loss=dict(type=loss))
    policy = dict(type='RecursiveMix', site='layer3', **options)
    return MixClassifier(backbone, head, policy).double()


def boxes_of(n, share, alpha, height, width):
    """Draw the boxes as the policy: first and one-past-last row and column of every image."""
    k = 1 if share == 'batch' else n
    sides = [math.sqrt(r) for r in (alpha * torch.rand(k)).tolist()]
    rows = torch.randint(height, (k,)).tolist()
    columns = torch.randint(width, (k,)).tolist()
    found = []
    for i in range(n):
        tall, wide = int(height * sides[i % k]) // 2, int(width * sides[i % k]) // 2
        row, column = rows[i % k], columns[i % k]
        found.append((max(row - tall, 0), min(row + tall, height), max(column - wide, 0), min(column + wide, width)))
    return found


def at(image, y, x):
    """Sample (C, h, w) at a point in pixel centres, bilinear, clamped to the border."""
    y, x = (min(max(p, 0.0), side - 1.0) for p, side in zip((y, x), image.shape[1:]))
    value = 0.0
    for r in {math.floor(y), math.ceil(y)}:
        for c in {math.floor(x), math.ceil(x)}:
            value = value + (1 - abs(y - r)) * (1 - abs(x - c)) * image[:, r, c]
    return value


def resized(image, tall, wide, interpolation):
    """Resize (C, H, W) pixel by pixel."""
    height, width = image.shape[1:]
    out = torch.empty(len(image), tall, wide, dtype=image.dtype)
    for r in range(tall):
        for c in range(wide):
            if interpolation == 'nearest':
                out[:, r, c] = image[:, r * height // tall, c * width // wide]
            else:
                out[:, r, c] = at(image, (r + 0.5) * height / tall - 0.5, (c + 0.5) * width / wide - 0.5)
    return out


def region_mean(features, top, bottom, left, right):
    """RoIAlign of one box (in units of the feature maps (C, h, w)) to one value: the mean of evenly spread points."""
    tall, wide = math.ceil(bottom - top), math.ceil(right - left)
    points = [
        at(features, top + (r + 0.5) * (bottom - top) / tall - 0.5, left + (c + 0.5) * (right - left) / wide - 0.5)
        for r in range(tall)
        for c in range(wide)
    ]
    return sum(points) / len(points)


@pytest.mark.parametrize(
    ('share', 'interpolation', 'sizes'),
    [('sample', 'nearest', (5, 5, 5)), ('batch', 'bilinear', (5, 3, 5)), ('sample', 'bilinear', (3, 5, 4))],
)
def test_steps_equal_the_equations_image_by_image(share, interpolation, sizes):
    """The losses of three steps, where the weights move in between and the sizes of batches may differ."""
    height, width, alpha, omega = 16, 24, 0.8, 0.3
    model = model_of(share=share, interpolation=interpolation, alpha=alpha, omega=omega).train()
    past, pasted = None, 0
    for step, n in enumerate(sizes):
        torch.manual_seed(10 + step)
        x, y = torch.randn(n, 3, height, width, dtype=torch.float64), torch.randint(5, (n,))
        torch.manual_seed(20 + step)
        losses = model.loss(dict(inputs=x, labels=y))
        torch.manual_seed(20 + step)
        images, labels, lams = x.clone(), F.one_hot(y, 5).double(), [1.0] * n
        boxes = [(0, 0, 0, 0)] * n if past is None else boxes_of(n, share, alpha, height, width)
        for i, (top, bottom, left, right) in enumerate(boxes):
            if bottom > top and right > left:
                pasted += 1
                old = i % len(past[0])
                images[i][:, top:bottom, left:right] = resized(past[0][old], bottom - top, right - left, interpolation)
                lams[i] = 1 - (bottom - top) * (right - left) / (height * width)
                labels[i] = lams[i] * labels[i] + (1 - lams[i]) * past[1][old]
        kept = {}
        handle = model.backbone.layer3.register_forward_hook(lambda module, args, out, kept=kept: kept.update(out=out))
        logits = model.head(model.backbone(images))
        handle.remove()
        wanted = sum(-(labels[i] @ logits[i].log_softmax(0)).item() for i in range(n)) / n
        region = 0.0
        for i, box in enumerate(boxes):
            if lams[i] < 1:
                maps = kept['out'][i]
                scales = [maps.shape[1] / height] * 2 + [maps.shape[2] / width] * 2
                z = region_mean(maps, *(edge * scale for edge, scale in zip(box, scales)))
                q = model.policy.region_head(z).softmax(0)
                p = past[2][i % len(past[2])].softmax(0)
                region += omega * (1 - lams[i]) * (p * (p / q).log()).sum().item() / n
        torch.testing.assert_close(losses['loss'].item(), wanted, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(losses['region_loss'].item(), region, rtol=1e-5, atol=1e-8)
        assert set(losses) == {'loss', 'region_loss'}
        past = images, labels, logits.detach()
        model.zero_grad()
        (losses['loss'] + losses['region_loss']).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
    assert pasted >= 4


def test_the_region_loss_trains_the_backbone_and_the_policy_forgets_no_gradient():
    model = model_of().train()
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.arange(4)
    for step in range(2):
        torch.manual_seed(step)
        losses = model.loss(dict(inputs=x, labels=y))
    (gradient,) = torch.autograd.grad(losses['region_loss'], model.backbone.layer3[0].conv1.weight)
    assert gradient.abs().max() > 0
    assert not any(value.requires_grad for value in model.policy.memory.buffers())


def test_evaluation_remembers_nothing():
    model = model_of().train()
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.arange(4)
    model.loss(dict(inputs=x, labels=y))
    before = model.policy.memory.images.clone()
    model.eval().loss(dict(inputs=x + 1, labels=y))
    assert torch.equal(model.policy.memory.images, before)


def test_boxes_follow_from_masks():
    mask = torch.ones(3, 1, 6, 8)
    mask[0, 0, 1:4, 2:7] = 0
    mask[1, 0, :, 7:] = 0
    assert box_of(mask)[:2].tolist() == [[2, 1, 7, 4], [7, 0, 8, 6]]
    first_column, first_row, last_column, last_row = box_of(mask)[2].tolist()
    assert (first_column, first_row) == (last_column, last_row)
    features = torch.rand(3, 2, 3, 4, requires_grad=True)
    found = pooled(features.bfloat16(), mask)
    assert found.dtype == torch.float32
    assert torch.equal(found[2], torch.zeros(2))
    found.sum().backward()
    assert features.grad.isfinite().all()


def test_boxes_cover_up_to_alpha_of_the_image():
    torch.manual_seed(0)
    policy = RecursiveMix(alpha=0.3)
    low, high = policy.draw_boxes(4000, 100, 100, torch.device('cpu'))
    areas = (high - low).prod(1) / 100**2
    assert 0.28 < areas.max() <= 0.3
    inside = ((low > 0) & (high < 100)).all(1)
    assert (areas[inside] < 0.02).float().mean() > 0.05  # of boxes that are not clipped, small ones are as likely


MIX = Mix(torch.arange(3)[:, None], torch.tensor([[0.75], [1.0], [0.5]]), earlier=torch.tensor(
    [[0.25, 0, 0, 0], [0, 0, 0, 0], [0, 0.125, 0.125, 0.25]]
))  # fmt: skip


@pytest.mark.parametrize('kind', ['classes', 'probabilities'])
def test_losses_add_the_shares_of_earlier_images(kind):
    torch.manual_seed(0)
    logits, y = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 2, 1])
    shares = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0.625, 0.125, 0.25]], dtype=torch.float64)
    given = y if kind == 'classes' else F.one_hot(y, 4).double()
    assert torch.equal(MIX.soft_labels(given, 4, torch.float64), shares)
    nll = -(shares * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(mix_ce(logits, given, MIX), nll.mean())
    smooth = 0.9 * nll - 0.1 * logits.log_softmax(1).mean(1)
    torch.testing.assert_close(mix_ce(logits, given, MIX, smoothing=0.1), smooth.mean())
    bce = F.binary_cross_entropy_with_logits(logits, shares, reduction='none').sum(1).mean()
    torch.testing.assert_close(mix_bce(logits, given, MIX), bce)
    torch.testing.assert_close(decoupled_bce(logits, given, MIX, t=1.0, xi=1.0), bce)
    torch.testing.assert_close(jensen_shannon(logits, given, MIX), nll.mean())
    torch.testing.assert_close(mix_mse(logits, given, MIX), (logits - shares).square().mean())
    moved = MIX.to('meta')
    assert moved.earlier is not None
    assert moved.earlier.is_meta


def test_losses_of_pairs_and_shares_that_do_not_fit_are_refused():
    logits, y = torch.randn(3, 4), torch.tensor([0, 2, 1])
    for loss in (decoupled_ce, pair_bce, info_nce):
        with pytest.raises(InputError, match=f'{loss.__name__}: reads the labels of the sources one by one'):
            loss(logits, y, MIX)
    with pytest.raises(InputError, match='earlier batches have shares of 4 classes, the logits are of 6'):
        mix_ce(torch.randn(3, 6), y, MIX)
    with pytest.raises(InputError, match='have shares of 4 classes, and the targets are a float32 tensor of'):
        MIX.soft_labels(y, 6)
    with pytest.raises(InputError, match='interpolate: images of earlier batches'):
        MIX.interpolate(nn.CrossEntropyLoss(reduction='none'), logits, y)
    with pytest.raises(InputError, match='decoupled_ce: reads the labels'):  # at the first step already
        model_of('decoupled_ce').loss(dict(inputs=torch.rand(4, 3, 16, 16).double(), labels=torch.arange(4)))


def test_in_a_loop_of_ones_own():
    """The policy mixes with what it was told to remember, and the last batch is all that it keeps."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    policy = RecursiveMix(site='0')
    policy.attach(Network(stem, LinearHead(6, 5)))
    z = torch.rand(4, 3, 16, 16)
    mixed, mix = policy(z)
    assert torch.equal(mixed, z)
    assert mix.lam.tolist() == [1.0] * 4
    policy.remember(torch.full_like(z, -1.0), torch.tensor([[0, 0, 0, 0.5, 0.5]] * 4), torch.zeros(4, 5))
    mixed, mix = policy(z)
    assert torch.equal((mixed == -1).all(1, keepdim=True).float(), 1 - mix.mask)
    assert 0.05 < (mixed == -1).float().mean() < 0.5
    torch.testing.assert_close(mix.soft_labels(torch.zeros(4, dtype=torch.int64), 5)[:, 0], mix.mask.mean((1, 2, 3)))
    torch.testing.assert_close(mix.earlier[:, 3] * 2, 1 - mix.lam)
    with pytest.raises(InputError, match=r'images of the batch before are \(3, 16, 16\), these are \(3, 8, 8\)'):
        policy(z[:, :, :8, :8])


def test_bad_input_is_an_input_error():
    z, stem = torch.rand(4, 3, 16, 16), nn.Conv2d(3, 6, 4, stride=4)
    with pytest.raises(InputError, match='RecursiveMix needs a network'):
        RecursiveMix()(z)
    with pytest.raises(InputError, match='leave pairs out'):
        RecursiveMix()(z, None, torch.arange(4))
    with pytest.raises(InputError, match='Linear has no num_classes'):
        RecursiveMix().attach(Network(stem, nn.Linear(6, 5)))
    with pytest.raises(InputError, match="no site 'layer9'"):
        RecursiveMix(site='layer9').attach(Network(nn.Sequential(stem), LinearHead(6, 5)))
    for options, line in (
        ({'alpha': 0.0}, 'alpha must be in'),
        ({'alpha': 1.5}, 'alpha must be in'),
        ({'omega': -1.0}, 'omega must be >= 0'),
        ({'site': 4}, 'site must be the name of a module'),
        ({'share': 'pair'}, 'share'),
        ({'interpolation': 'cubic'}, 'interpolation'),
    ):
        with pytest.raises(InputError, match=line):
            RecursiveMix(**options)
    with pytest.raises(InputError, match='chooses the partners'):
        OneOf([RecursiveMix(), dict(type='CutMix')], share='sample')
    policy = RecursiveMix(site='0')
    policy.attach(Network(nn.Sequential(stem), LinearHead(6, 5)))
    _, mix = policy(z)
    with pytest.raises(InputError, match="mixed_losses reads labels, and what '0' puts out"):
        policy.mixed_losses(mix, MixContext(z, torch.arange(4)), MixContext(z))


def test_processes_that_draw_apart_refuse_it(monkeypatch):
    """They would wait for each other's batches: one gathers where another mixes otherwise."""
    one = dict(type='RecursiveMix')
    nested = OneOf([Until(one, 3), dict(type='CutMix')])
    nested.before_epoch(0)
    monkeypatch.setattr('openmix.mixups.one_of.get_world_size', lambda: 2)
    with pytest.raises(InputError, match='OneOf: RecursiveMix remembers the batches of all processes'):
        nested.before_epoch(0)
    OneOf([one]).before_epoch(0)
    OneOf([dict(type='CutMix'), dict(type='Mixup')]).before_epoch(0)


@pytest.mark.parametrize('outer', [lambda one: OneOf([one, dict(type='CutMix')]), lambda one: Until(one, 3)])
def test_other_policies_hold_it(outer):
    """Its losses and its memory work inside a policy that draws from others."""
    model = model_of()
    model.policy = outer(dict(type='RecursiveMix', site='layer3'))
    model.policy.attach(model.online())
    assert model.policy.output_sites() == {'layer3'}
    assert model.policy.double().leaves_parameters_unused
    names = set()
    for step in range(8):
        torch.manual_seed(step)
        names |= set(model.loss(dict(inputs=torch.randn(4, 3, 16, 16).double(), labels=torch.arange(4))))
    assert names == {'loss', 'region_loss'}
