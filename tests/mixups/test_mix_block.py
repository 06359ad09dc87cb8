"""Compare the Mix Block with loops that follow Automatic Mixup, 3.2 and Eq. 5; test its mask loss and lam adjusting."""

import itertools
import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups.mix_block import MixBlock, adjust_mask, mask_loss

N, C, H, W = 3, 4, 2, 3


def features(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(N, C, H, W, generator=g), torch.randn(N, C, H, W, generator=g), torch.tensor([0.0, 0.3, 0.85])


def block(**options):
    """Make a block in float64 whose weights are large enough to matter."""
    torch.manual_seed(1)
    built = MixBlock(C, **{'dropout': 0.0, **options})
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    for part in built.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.uniform_(part.bias, 0, 1)
    if options.get('gamma', 'learned') == 'learned' and options.get('lam_encoding') == 'adaptive':
        torch.nn.init.constant_(built.gamma, 0.6)
    return built


def conv(layer, z):
    """Compute a 1x1 convolution in loops; z is a list of one vector per position."""
    weight = layer.weight.detach().double()[:, :, 0, 0]
    bias = [0.0] * len(weight) if layer.bias is None else layer.bias.tolist()
    return [[sum(w * v for w, v in zip(row.tolist(), vector)) + b for row, b in zip(weight, bias)] for vector in z]


def encode(z, share, gamma, encoding):
    if encoding == 'concat':
        return [[*vector, share] for vector in z]
    return [[v * (1 + gamma * share) for v in vector] for vector in z]


def contents(built, own):
    """Compute C(z_i) of every sample and position; the statistics of batch norm are over all of them."""
    if isinstance(built.content, torch.nn.Conv2d):
        return [[vector[0] for vector in conv(built.content, z)] for z in own]
    first, norm, activation, last, _ = built.content
    hidden = [conv(first, z) for z in own]
    for channel in range(len(hidden[0][0])):
        values = [vector[channel] for z in hidden for vector in z]
        mean = sum(values) / len(values)
        var = sum((v - mean) ** 2 for v in values) / len(values)
        for z in hidden:
            for vector in z:
                v = (vector[channel] - mean) / math.sqrt(var + norm.eps)
                v = v * norm.weight[channel].item() + norm.bias[channel].item()
                negative = math.exp(v) - 1 if isinstance(activation, torch.nn.ELU) else 0.0
                vector[channel] = v if v > 0 else negative
    return [[vector[0] for vector in conv(last, z)] for z in hidden]


def slow_masks(built, z_own, z_other, lam, encoding='concat', attention='cross', squash_first=True):
    """Compute the masks (N, 1, H, W) before upsampling, in a loop over positions."""

    def places(z):
        return [[[z[n, c, i, j].item() for c in range(C)] for i in range(H) for j in range(W)] for n in range(N)]

    gamma = built.gamma.item() if isinstance(built.gamma, torch.Tensor) else built.gamma
    own = [encode(z, share, gamma, encoding) for z, share in zip(places(z_own), lam.tolist())]
    other = [encode(z, 1 - share, gamma, encoding) for z, share in zip(places(z_other), lam.tolist())]
    content = contents(built, own)
    masks = torch.zeros(N, 1, H, W, dtype=torch.float64)
    for n in range(N):
        asking, asked = other[n], own[n]
        if attention == 'self':
            asking = asked = [a + b for a, b in zip(own[n], other[n])]
        queries, keys = conv(built.query or built.key, asking), conv(built.key, asked)
        for place, query in enumerate(queries):
            scores = [sum(a * b for a, b in zip(query, key)) / math.sqrt(len(key)) for key in keys]
            total = sum(math.exp(score) for score in scores)
            logit = sum(math.exp(score) / total * value for score, value in zip(scores, content[n]))
            masks[n, 0, place // W, place % W] = 1 / (1 + math.exp(-logit)) if squash_first else logit
    return masks


SWITCHES = itertools.product(
    ['concat', 'adaptive', 'none'], ['linear', 'nonlinear'], ['cross', 'self'], ['shared', 'split']
)


@pytest.mark.parametrize(('encoding', 'content', 'attention', 'projection'), SWITCHES)
def test_equals_the_equations_place_by_place(encoding, content, attention, projection):
    own, other, lam = features()
    built = block(lam_encoding=encoding, content=content, attention=attention, projection=projection)
    wanted = slow_masks(built, own, other, lam, encoding, attention)
    torch.testing.assert_close(built(own, other, lam, (H, W)).double(), wanted, rtol=0, atol=1e-5)
    assert wanted.var() > 1e-4


def test_nearest_repeats_and_bilinear_interpolates_the_squashed_mask():
    own, other, lam = features()
    for upsampling in ('nearest', 'bilinear', 'bilinear_logits'):
        built = block(upsampling=upsampling)
        small = slow_masks(built, own, other, lam, squash_first=upsampling != 'bilinear_logits')
        wanted = torch.zeros(N, 1, 4 * H, 4 * W, dtype=torch.float64)
        for i, j in itertools.product(range(4 * H), range(4 * W)):
            if upsampling == 'nearest':
                wanted[..., i, j] = small[..., i // 4, j // 4]
                continue
            # Pixel centres of the large mask in the coordinates of the small one, clamped at the border.
            y, x = max((i + 0.5) / 4 - 0.5, 0), max((j + 0.5) / 4 - 0.5, 0)
            top, left = min(int(y), H - 1), min(int(x), W - 1)
            bottom, right = min(top + 1, H - 1), min(left + 1, W - 1)
            upper = (1 - (x - left)) * small[..., top, left] + (x - left) * small[..., top, right]
            lower = (1 - (x - left)) * small[..., bottom, left] + (x - left) * small[..., bottom, right]
            wanted[..., i, j] = (1 - (y - top)) * upper + (y - top) * lower
        wanted = wanted.sigmoid() if upsampling == 'bilinear_logits' else wanted
        mask = built(own, other, lam, (4 * H, 4 * W))
        torch.testing.assert_close(mask.double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(('encoding', 'projection'), [('concat', 'split'), ('none', 'shared')])
def test_the_softmax_is_over_both_images_at_each_place(encoding, projection):
    own, other, lam = features()
    built = block(lam_encoding=encoding, projection=projection, normalization='softmax')
    first = slow_masks(built, own, other, lam, encoding, squash_first=False).exp()
    second = slow_masks(built, other, own, 1 - lam, encoding, squash_first=False).exp()
    mask = built(own, other, lam, (H, W))
    torch.testing.assert_close(mask.double(), first / (first + second), rtol=0, atol=1e-5)
    torch.testing.assert_close(built(other, own, 1 - lam, (H, W)), 1 - mask, rtol=0, atol=1e-6)


def test_elu_and_dropout_are_options_of_the_content():
    own, other, lam = features()
    elu = block(content='nonlinear', activation='elu')
    wanted = slow_masks(elu, own, other, lam)
    torch.testing.assert_close(elu(own, other, lam, (H, W)).double(), wanted, rtol=0, atol=1e-5)
    assert (elu(own, other, lam, (H, W)) - block(content='nonlinear')(own, other, lam, (H, W))).abs().max() > 0.01
    dropped = block(content='nonlinear', dropout=0.9)
    content, _ = dropped.parts(own, other, lam)
    assert (content == 0).float().mean() > 0.5
    content, _ = dropped.eval().parts(own, other, lam)
    assert (content != 0).all()


def test_gamma_starts_at_zero_and_is_projected_not_clamped_in_the_graph():
    own, other, lam = features()
    torch.manual_seed(0)
    fresh = MixBlock(C, lam_encoding='adaptive')
    assert fresh.gamma.item() == 0
    torch.manual_seed(0)
    plain = MixBlock(C, lam_encoding='none')
    assert torch.equal(fresh(own, other, lam, (H, W)), plain(own, other, lam, (H, W)))
    for value, wanted in ((-0.3, 0.0), (0.4, 0.4), (1.2, 1.0)):
        torch.nn.init.constant_(fresh.gamma, value)
        fresh(own, other, lam, (H, W)).sum().backward()
        assert fresh.gamma.grad != 0
        fresh.project()
        assert fresh.gamma.item() == pytest.approx(wanted)
    fixed = MixBlock(C, lam_encoding='adaptive', gamma=1.0)
    fixed.project()
    assert fixed.gamma == 1
    assert all('gamma' not in name for name, _ in fixed.named_parameters())


@pytest.mark.parametrize('k', [0.0, 0.25, 1.0])
def test_the_rescaled_lam_is_the_released_curve(k):
    built = MixBlock(C, lam_encoding='adaptive', gamma=1.0, lam_rescale=k)
    lam = torch.tensor([0.0, 0.25, 0.5, 0.8, 1.0])
    seen = built._encode(torch.ones(5, 1, 1, 1), lam).flatten() - 1
    wanted = [(4 / 3 * v**3 - 2 * v**2 + (k + 1) * v) / (k + 1 / 3) for v in lam.tolist()]
    torch.testing.assert_close(seen, torch.tensor(wanted), rtol=0, atol=1e-6)
    assert seen[0] == 0
    torch.testing.assert_close(seen[[2, 4]], torch.tensor([0.5, 1.0]))


@pytest.mark.parametrize('content', ['linear', 'nonlinear'])
def test_float32_from_the_matrix_products_on_under_autocast(content):
    own, other, lam = features()
    built = block(content=content)
    with torch.autocast('cpu', torch.bfloat16):
        values, weights = built.parts(own, other, lam)
        mask = built(own, other, lam, (8, 8))
    assert values.dtype == weights.dtype == mask.dtype == torch.float32
    torch.testing.assert_close(weights.sum(2), torch.ones(N, H * W))
    torch.testing.assert_close(mask, built(own, other, lam, (8, 8)), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(lam_encoding='adaptiv'), "did you mean 'adaptive'"),
        (dict(content='quadratic'), "'linear' or 'nonlinear'"),
        (dict(attention='both'), "'cross' or 'self'"),
        (dict(upsampling='cubic'), "'nearest' or 'bilinear'"),
        (dict(gamma=1.5), 'gamma'),
        (dict(dropout=1.0), 'dropout'),
        (dict(lam_rescale=-1.0), 'lam_rescale'),
    ],
)
def test_wrong_options_are_one_line(options, line):
    with pytest.raises(InputError, match=line):
        MixBlock(C, **options)


def slow_mask_loss(mask, lam, margin, mean, variance):
    total = 0.0
    for one, share in zip(mask.tolist(), lam.tolist()):
        values = [v for row in one[0] for v in row]
        mu = sum(values) / len(values)
        var = sum((v - mu) ** 2 for v in values) / len(values)
        total += mean * max(abs(share - mu) - margin, 0) - variance * var
    return total / len(lam)


@pytest.mark.parametrize(('margin', 'mean', 'variance'), [(0.1, 1, 0), (0.1, 1, 1), (0.0, 2, 0.5), (0.1, 0, 2)])
def test_mask_loss_by_value_and_by_finite_differences(margin, mean, variance):
    torch.manual_seed(0)
    mask = torch.rand(5, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    lam = torch.tensor([0.0, 0.3, 0.5, 0.52, 0.95], dtype=torch.float64)
    wanted = slow_mask_loss(mask, lam, margin, mean, variance)
    assert mask_loss(mask, lam, margin, mean, variance).item() == pytest.approx(wanted, abs=1e-12)
    assert torch.autograd.gradcheck(lambda m: mask_loss(m, lam, margin, mean, variance), (mask,))


def test_the_variance_is_rewarded():
    lam = torch.full((1,), 0.5)
    sharp = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert mask_loss(sharp, lam, variance=1.0) == -0.25
    assert mask_loss(torch.full_like(sharp, 0.5), lam, variance=1.0) == 0


def test_adjusted_masks_have_the_mean_lam_and_stay_masks():
    torch.manual_seed(0)
    mask = torch.rand(200, 1, 7, 5) ** torch.linspace(0.1, 8, 200).view(-1, 1, 1, 1)
    lam = torch.rand(200)
    lam[:4] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    mask[2:3], mask[3:4], mask[4:5], mask[5:6] = 0, 1, 0, 1
    adjusted = adjust_mask(mask, lam)
    torch.testing.assert_close(adjusted.mean((1, 2, 3)), lam, rtol=0, atol=1e-6)
    assert adjusted.min() >= 0
    assert adjusted.max() <= 1
    for n in range(6, 200):
        mean, share = mask[n].mean(), lam[n]
        own = mask[n] * share / mean if mean > share else 1 - (1 - mask[n]) * (1 - share) / (1 - mean)
        torch.testing.assert_close(adjusted[n], own, rtol=0, atol=1e-6)
