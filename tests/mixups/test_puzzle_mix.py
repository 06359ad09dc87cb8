"""Test PuzzleMix: saliency does not change the model; costs and mixing equal loops that follow the paper."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from openmix.errors import InputError
from openmix.mixups import MixContext, PuzzleMix
from openmix.mixups import puzzle_mix as module
from openmix.ops.graph_cut import cut_grid, grid_energy
from openmix.ops.transport import assign_blocks
from openmix.registry import MODELS

MEAN, STD = torch.tensor([0.5, 0.45, 0.4]), torch.tensor([0.25, 0.2, 0.3])


def classifier(policy=None):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type='ThinResNet', depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5, init_std=None),
            policy=policy or dict(type='NoMix'),
        )
    )


def batch(n=6, height=16, width=16):
    g = torch.Generator().manual_seed(n)
    return torch.randn(n, 3, height, width, generator=g), torch.randint(5, (n,), generator=g)


def state_of(model):
    """Return all state that a saliency pass must not change."""
    parameters = [
        (p.detach().clone(), None if p.grad is None else p.grad.clone(), p.requires_grad) for p in model.parameters()
    ]
    return parameters, [b.clone() for b in model.buffers()], [m.training for m in model.modules()]


def assert_same(before, after):
    for (value, grad, needs), (value_after, grad_after, needs_after) in zip(before[0], after[0], strict=True):
        assert torch.equal(value, value_after)
        assert needs == needs_after
        assert grad_after is None if grad is None else torch.equal(grad, grad_after)
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert before[2] == after[2]


class Given(MixContext):
    """A context with a given saliency map."""

    def __init__(self, x, saliency, **kwargs):
        super().__init__(x, **kwargs)
        self.given = saliency

    def saliency(self, training=False, keep_loss=False):
        return self.given


# -- saliency


def test_saliency_is_the_gradient_of_each_samples_loss():
    model, (x, y) = classifier().eval(), batch()
    got = MixContext(x, y, network=model).saliency()
    for n in range(len(x)):
        one = x[n : n + 1].clone().requires_grad_()
        F.cross_entropy(model(one), y[n : n + 1]).backward()
        torch.testing.assert_close(got[n], one.grad[0].square().mean(0).sqrt(), rtol=1e-4, atol=1e-7)


def test_saliency_with_batch_statistics_is_that_of_a_training_pass():
    model, (x, y) = classifier().train(), batch()
    before = state_of(model)
    got = MixContext(x, y, network=model).saliency(training=True)
    assert_same(before, state_of(model))
    x = x.clone().requires_grad_()
    F.cross_entropy(model(x), y, reduction='sum').backward()
    torch.testing.assert_close(got, x.grad.square().mean(1).sqrt())


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_saliency_leaves_the_model_as_it_was(training, dtype):
    model, (x, y) = classifier().train(), batch()
    model.backbone.layer1.eval()  # frozen statistics stay frozen
    model.head.fc.bias.requires_grad_(False)
    model(x, y, mode='loss')['loss'].backward()  # gradients of an earlier part of an accumulated batch
    next(model.parameters()).grad = None
    before = state_of(model)
    with torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None), torch.no_grad():
        saliency = MixContext(x, y, network=model).saliency(training=training)
    assert saliency.dtype == torch.float32
    assert not saliency.requires_grad
    assert saliency.shape == (6, 16, 16)
    assert saliency.min() >= 0
    assert (saliency.mean((1, 2)) > 0).all()
    assert_same(before, state_of(model))


def test_saliency_leaves_the_model_as_it_was_where_it_fails():
    model = classifier().train()
    before = state_of(model)
    with pytest.raises(RuntimeError):
        MixContext(torch.randn(2, 5, 16, 16), torch.zeros(2, dtype=torch.int64), network=model).saliency()
    assert_same(before, state_of(model))


def test_no_gradient_of_a_weight_is_computed():
    model, (x, y) = classifier(), batch()
    asked = []
    for parameter in model.parameters():
        parameter.register_hook(lambda grad: asked.append(grad))
    MixContext(x, y, network=model).saliency()
    assert not asked


def test_saliency_of_soft_labels():
    model, (x, y) = classifier(), batch()
    hard, soft = MixContext(x, y, network=model), MixContext(x, F.one_hot(y, 5).float(), network=model)
    torch.testing.assert_close(hard.saliency(), soft.saliency())


@pytest.mark.parametrize('accumulated', [False, True])
def test_gradients_of_a_step_are_those_of_the_mixed_batch_alone(accumulated):
    model, (x, y) = classifier(dict(type='PuzzleMix')), batch()
    twin = classifier()
    for each in (model, twin):
        if accumulated:
            each.head(each.backbone(x)).square().mean().backward()
    torch.manual_seed(1)
    model.loss(dict(inputs=x, labels=y))['loss'].backward()
    torch.manual_seed(1)
    mixed, mix = PuzzleMix()(x, MixContext(x, y, network=twin))
    twin.head.loss(twin(mixed), y, mix).backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    for ours, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_clean_pass_is_trained_on():
    weight = 0.7
    model, (x, y) = classifier(dict(type='PuzzleMix', clean_weight=weight, block_nums=(4,))), batch()
    twin = classifier()
    torch.manual_seed(1)
    losses = model.loss(dict(inputs=x, labels=y))
    assert set(losses) == {'loss', 'clean_loss'}
    sum(losses.values()).backward()
    clean = x.clone().requires_grad_()
    clean_loss = F.cross_entropy(twin(clean), y)
    (gradient,) = torch.autograd.grad(clean_loss, clean, retain_graph=True)
    torch.manual_seed(1)
    policy = PuzzleMix(block_nums=(4,))
    torch.rand(())  # the number of blocks
    policy._drawn = 0.0
    mixed, mix = policy(x, Given(x, gradient.square().mean(1).sqrt()))
    (twin.head.loss(twin(mixed), y, mix) + weight * clean_loss).backward()
    torch.testing.assert_close(losses['clean_loss'], weight * clean_loss)
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


# -- the mask


def recorded_costs(monkeypatch, policy, *args):
    """Record the costs that the policy passes to the graph cut."""
    seen = []
    monkeypatch.setattr(module, 'cut_grid', lambda *costs: seen.extend(costs) or cut_grid(*costs))
    policy.cut(*args)
    return seen


def paper_energy(levels, own, other, lam, images, beta, gamma, eta, square):
    """Compute Equation 5 for levels 0 and 1 in loops over blocks and pairs of neighbours; times b^2.

    The unary cost is the saliency that is hidden; `own` and `other` are the saliency shares of the blocks. An edge
    costs beta if the levels differ, plus gamma beta times the mean difference of the images at the border, with images
    averaged over squares. The prior of a level is its probability in a binomial draw of two.
    """
    b = len(levels)
    k = images[0].shape[1] // b // square
    squares = [F.avg_pool2d(image, square) for image in images]

    def shown(level, rows, columns):
        return squares[0 if level else 1][:, rows, columns]

    total = 0.0
    for i, j in itertools.product(range(b), range(b)):
        level = int(levels[i, j])
        lost = other[i, j] if level else own[i, j]
        total += lost.item() * b**2 - eta * math.log((lam if level else 1 - lam) ** 2)
        along = slice(j * k, (j + 1) * k), slice(i * k, (i + 1) * k)
        pairs = []
        if i + 1 < b:
            below = int(levels[i + 1, j])
            edge = (i + 1) * k
            pairs.append((below, shown(level, edge - 1, along[0]), shown(below, edge, along[0])))
        if j + 1 < b:
            right = int(levels[i, j + 1])
            edge = (j + 1) * k
            pairs.append((right, shown(level, along[1], edge - 1), shown(right, along[1], edge)))
        for neighbour, here, there in pairs:
            total += beta * b / 16 * ((level != neighbour) + gamma * (here - there).abs().mean().item())
    return total


@pytest.mark.parametrize(
    ('block_num', 'neigh_size', 'square'), [(2, 4, 4), (4, 4, 4), (8, 3, 2), (4, 1, 1), (16, 4, 1)]
)
def test_costs_are_those_of_the_paper(monkeypatch, block_num, neigh_size, square):
    torch.manual_seed(block_num)
    n, side = 3, 16
    pixels, saliency, lam = torch.rand(n, 3, side, side), torch.rand(n, side, side), torch.rand(n)
    partner = torch.tensor([2, 0, 1])
    policy = PuzzleMix(beta=1.3, gamma=0.6, eta=0.3, neigh_size=neigh_size)
    costs = recorded_costs(monkeypatch, policy, saliency, pixels, partner, lam, block_num)
    shares = F.avg_pool2d(saliency, side // block_num)
    shares = shares / shares.sum((1, 2), keepdim=True)
    none = grid_energy(*costs, labels=torch.zeros(n, block_num, block_num, dtype=torch.int64))
    for _ in range(3):
        levels = torch.randint(2, (n, block_num, block_num))
        got = grid_energy(*costs, labels=2 * levels)
        for i in range(n):
            j = int(partner[i])
            args = shares[i], shares[j], lam[i].item(), (pixels[i], pixels[j]), 1.3, 0.6, 0.3, square
            # Costs may be shifted: what all labellings share cuts nothing.
            expected = paper_energy(levels[i], *args) - paper_energy(torch.zeros_like(levels[i]), *args)
            assert (got[i] - none[i]).item() == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize('n_labels', [2, 3, 4])
def test_levels_in_between_are_interpolated_and_have_their_own_prior(monkeypatch, n_labels):
    torch.manual_seed(0)
    lam, eta = torch.tensor([0.3, 0.9]), 0.25
    args = torch.rand(2, 8, 8), torch.rand(2, 3, 8, 8), torch.tensor([1, 0]), lam, 4
    unary, _, _ = recorded_costs(monkeypatch, PuzzleMix(n_labels=n_labels, eta=eta), *args)
    top = n_labels - 1
    chance = [[math.comb(top, k) * p**k * (1 - p) ** (top - k) for k in range(n_labels)] for p in lam.tolist()]
    prior = -eta * torch.tensor(chance).log()[:, :, None, None]
    without = unary - prior
    level = torch.linspace(0, 1, n_labels).view(-1, 1, 1)
    expected = without[:, :1] + level * (without[:, -1:] - without[:, :1])
    torch.testing.assert_close(without, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('value', [0.0, math.nan, math.inf])
def test_an_image_without_saliency_is_worth_as_much_everywhere(value):
    shares = module.block_shares(torch.full((2, 8, 8), value), (2, 4))
    torch.testing.assert_close(shares, torch.full((2, 4, 2), 1 / 8))


@pytest.mark.parametrize('lam', [0.0, 1.0])
def test_a_share_of_nothing_or_all_is_that_image(lam):
    torch.manual_seed(0)
    x = torch.rand(4, 3, 16, 16)
    args = torch.rand(4, 16, 16), x, torch.tensor([1, 2, 3, 0]), torch.full((4,), lam), 8
    assert torch.equal(PuzzleMix().cut(*args), torch.full((4, 8, 8), lam))


def test_the_mask_shows_each_image_where_it_is_salient():
    saliency = torch.zeros(2, 16, 16)
    saliency[0, :, :8] = saliency[1, :, 8:] = 1
    mask = PuzzleMix().cut(saliency, torch.zeros(2, 3, 16, 16), torch.tensor([1, 0]), torch.full((2,), 0.5), 4)
    assert torch.equal(mask[0, :, :2], torch.ones(4, 2))
    assert torch.equal(mask[0, :, 2:], torch.zeros(4, 2))
    torch.testing.assert_close(mask[1], 1 - mask[0])


# -- the whole


def slow_move(image, source, grid):
    (height, width), moved = image.shape[1:], torch.empty_like(image)
    tall, wide = height // grid[0], width // grid[1]
    for place, block in enumerate(source.tolist()):
        (i, j), (k, m) = divmod(place, grid[1]), divmod(block, grid[1])
        part = image[:, k * tall : (k + 1) * tall, m * wide : (m + 1) * wide]
        moved[:, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide] = part
    return moved


@pytest.mark.parametrize(
    ('height', 'width', 'block_num', 't_size', 'grid'),
    [
        (16, 16, 4, None, (4, 4)),
        (16, 16, 2, None, (4, 4)),
        (16, 16, 2, -1, (2, 2)),
        (16, 16, 8, 4, (8, 8)),
        (16, 24, 4, 3, (8, 8)),
        (24, 16, 2, 4, (6, 4)),
        (64, 64, 4, None, (4, 4)),
        (28, 28, 4, None, (4, 4)),
        (28, 28, 2, None, (14, 14)),
    ],
)
def test_equals_the_algorithm_pair_by_pair(height, width, block_num, t_size, grid):
    torch.manual_seed(height)
    n = 5
    x, saliency = torch.randn(n, 3, height, width), torch.rand(n, height, width) ** 3
    policy = PuzzleMix(block_nums=(block_num,), t_size=t_size, t_eps=0.3)
    mixed, mix = policy(x, Given(x, saliency, mean=MEAN, std=STD))
    assert set(mix.mask.unique().tolist()) <= {0.0, 0.5, 1.0}
    size = height // grid[0], width // grid[1]
    for i in range(n):
        j = int(mix.partner[i])
        mask = mix.mask[i, 0]
        blocks = F.avg_pool2d(mask[None, None], (height // block_num, width // block_num))[0, 0]
        assert torch.equal(
            blocks.repeat_interleave(height // block_num, 0).repeat_interleave(width // block_num, 1), mask
        )
        assert mix.lam[i].item() == pytest.approx(mask.mean().item(), abs=1e-6)
        fine = F.avg_pool2d(mask[None, None], size)[0, 0]
        moved = []
        for image, wanted in ((i, fine > 0), (j, fine < 1)):
            shares = F.avg_pool2d(saliency[image][None, None], size)[0]
            source = assign_blocks(shares / shares.sum(), wanted[None], 0.3, max(grid))[0]
            moved.append(slow_move(x[image], source, grid))
        torch.testing.assert_close(mixed[i], mask * moved[0] + (1 - mask) * moved[1])


@pytest.mark.parametrize('side', [16, 20, 28, 32, 36, 40, 44, 48, 56, 64, 96, 160, 224])
def test_no_number_of_blocks_that_is_drawn_is_too_fine_to_move(side):
    policy = PuzzleMix()
    for block_num in policy.fitting_block_nums(side, side):
        tall, wide = policy.moved_block(side, side, block_num)
        assert side % tall == side % wide == 0
        shares = torch.rand(1, side // tall, side // wide)
        assign_blocks(shares, shares > 0.5, 0.3, 2)


def test_the_cut_sees_pixels_partners_and_shares():
    torch.manual_seed(0)
    x, saliency = torch.randn(6, 3, 16, 16), torch.rand(6, 16, 16)
    pairs = torch.tensor([5, 3, 3])
    context = Given(x, saliency, mean=MEAN, std=STD)
    policy = PuzzleMix(block_nums=(8,), transport=False)
    torch.manual_seed(1)
    mixed, mix = policy(x, context, pairs)
    torch.manual_seed(1)
    torch.rand(())
    lam = policy.draw_lam(3, x.device)
    mask = policy.cut(saliency, context.pixels, pairs, lam, 8)
    mask = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    assert torch.equal(mix.mask, mask)
    torch.testing.assert_close(mixed, mask * x[:3] + (1 - mask) * x[pairs])


def test_moving_shows_more_of_what_is_salient():
    torch.manual_seed(0)
    saliency = F.interpolate(torch.rand(40, 1, 8, 8) ** 8, size=32).expand(-1, 3, -1, -1)
    shown = []
    for transport in (False, True):
        torch.manual_seed(1)
        mixed, _ = PuzzleMix(block_nums=(8,), transport=transport, t_eps=0.1)(saliency, Given(saliency, saliency[:, 0]))
        shown.append(mixed.sum())
    assert shown[1] > 1.02 * shown[0]


def test_blocks_are_drawn_evenly_from_those_that_divide_the_image():
    for height, width, expected in (
        (32, 32, (2, 4, 8, 16)),
        (64, 96, (2, 4, 8)),
        (24, 24, (2, 4, 8)),
        (28, 16, (2, 4)),
    ):
        assert tuple(PuzzleMix().fitting_block_nums(height, width)) == expected
    torch.manual_seed(0)
    drawn = [int(PuzzleMix().pick()[0]._drawn * 4) for _ in range(2000)]
    assert max(abs(drawn.count(k) - 500) for k in range(4)) < 4 * (2000 * 3 / 16) ** 0.5


def test_bad_input_is_an_input_error():
    x, y = batch()
    model = classifier()
    for options, message in (
        (dict(block_nums=[]), 'at least one'),
        (dict(block_nums=4), 'must be a list'),
        (dict(block_nums=(2, 1)), r'block_nums must be in \[2, 32\]'),
        (dict(n_labels=1), 'n_labels'),
        (dict(beta=-1), 'beta'),
        (dict(t_size=0), 't_size'),
        (dict(clean_weight=-0.1), 'clean_weight'),
        (dict(neigh_size=0.5), 'neigh_size'),
    ):
        with pytest.raises(InputError, match=message):
            PuzzleMix(**options)
    with pytest.raises(InputError, match='needs a context'):
        PuzzleMix()(x)
    with pytest.raises(InputError, match='needs the network and the labels'):
        PuzzleMix()(x, MixContext(x))
    with pytest.raises(InputError, match='needs the network and the labels'):
        PuzzleMix(clean_weight=1.0)(x, MixContext(x, network=model))
    with pytest.raises(InputError, match='the context holds'):
        PuzzleMix()(x, MixContext(x[:2], y[:2], network=model))
    with pytest.raises(InputError, match='16 x 16 does not divide into 32 x 32 blocks'):
        PuzzleMix(block_nums=(2, 32))(x, MixContext(x, y, network=model))
    with pytest.raises(InputError, match='9 x 9 does not divide'):
        PuzzleMix()(torch.rand(2, 3, 9, 9), MixContext(torch.rand(2, 3, 9, 9), y[:2], network=model))
    with pytest.raises(InputError, match='needs an'):
        PuzzleMix()(x.flatten(1), MixContext(x, y, network=model))


def test_a_step_on_a_batch_of_one_and_on_images_that_are_not_square():
    model = classifier(dict(type='PuzzleMix', share='batch'))
    for x, y in (batch(2, 16, 24), batch(3, 32, 16)):
        assert model.loss(dict(inputs=x, labels=y))['loss'].isfinite()
    model.eval()  # batch statistics of one value do not exist
    assert model.loss(dict(zip(('inputs', 'labels'), batch(1))))['loss'].isfinite()


@pytest.mark.parametrize('options', [{}, {'clean_weight': 1.0}, {'batch_statistics': True}])
def test_a_step_in_bfloat16(options):
    model, (x, y) = classifier(dict(type='PuzzleMix', **options)), batch()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(dict(inputs=x, labels=y))
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.slow
def test_the_policy_of_a_compiled_backbone():
    model, (x, y) = classifier(dict(type='PuzzleMix', block_nums=(4,))).eval(), batch()
    torch.manual_seed(0)
    plain = model.loss(dict(inputs=x, labels=y))['loss']
    model.backbone.compile(backend='aot_eager')
    torch.manual_seed(0)
    torch.testing.assert_close(model.loss(dict(inputs=x, labels=y))['loss'], plain)


def test_nothing_else_is_stored_in_a_checkpoint():
    assert not PuzzleMix().state_dict()
    assert not list(nn.Module.parameters(PuzzleMix()))
