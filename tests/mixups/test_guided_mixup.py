"""Compare GuidedMixup with loops over pixels and images in float64, written from its paper."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.mixups import GuidedMixup, MixContext
from openmix.ops.pairs import greedy_cycle
from openmix.ops.spectral_residual import spectral_residual

MEAN, STD = torch.tensor([0.5, 0.45, 0.4]), torch.tensor([0.25, 0.2, 0.3])


def reflected(i, length):
    i = abs(i)
    return 2 * (length - 1) - i if i >= length else i


def blurred(image, kernel, sigma):
    height, width = image.shape
    reach, out = kernel // 2, np.zeros_like(image)
    weight = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    total = sum(weight)
    for i in range(height):
        for j in range(width):
            for k in range(-reach, reach + 1):
                for m in range(-reach, reach + 1):
                    share = weight[k + reach] * weight[m + reach] / total**2
                    out[i, j] += share * image[reflected(i + k, height), reflected(j + m, width)]
    return out


def residual_saliency(pixels, kernel, sigma):
    """Hou and Zhang's saliency of one image (3, H, W)."""
    gray = 0.2989 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    spectrum = np.fft.fft2(gray)
    amplitude = np.sqrt(np.abs(spectrum) ** 2 + 1e-10)
    log, (height, width) = np.log(amplitude), gray.shape
    residual = np.zeros_like(log)
    for i in range(height):
        for j in range(width):
            around = [
                log[min(max(i + k, 0), height - 1), min(max(j + m, 0), width - 1)]
                for k in (-1, 0, 1)
                for m in (-1, 0, 1)
            ]
            residual[i, j] = log[i, j] - sum(around) / 9
    return blurred(np.abs(np.fft.ifft2(np.exp(residual) * spectrum / amplitude)), kernel, sigma)


def greedy(maps):
    """Follow each image by the farthest one that follows none yet, from the farthest pair on."""
    n = len(maps)
    way = [[math.sqrt(((a - b) ** 2).sum()) for b in maps] for a in maps]
    row = max(((i, j) for i in range(n) for j in range(n) if i != j), key=lambda pair: way[pair[0]][pair[1]])[0]
    first, partner, before = row, [None] * n, set()
    for _ in range(n - 1):
        before.add(row)
        partner[row] = max((j for j in range(n) if j not in before), key=lambda j: way[row][j])
        row = partner[row]
    partner[row] = first
    return partner


@pytest.mark.parametrize(('height', 'width', 'kernel', 'sigma'), [(16, 16, 7, 3.0), (12, 20, 5, 1.5)])
def test_equals_the_paper_image_by_image(height, width, kernel, sigma):
    torch.manual_seed(0)
    n = 7
    pixels = nn.functional.interpolate(torch.rand(n, 3, 4, 5), (height, width), mode='bicubic').clamp(0, 1)
    z = (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    mixed, mix = GuidedMixup(kernel=kernel, sigma=sigma)(z, MixContext(z, mean=MEAN, std=STD))
    maps = [blurred(residual_saliency(image, kernel, sigma), kernel, sigma) for image in pixels.double().numpy()]
    maps = [one / one.sum() for one in maps]
    assert mix.partner.tolist() == greedy(maps)
    for i, j in enumerate(mix.partner.tolist()):
        mask = torch.from_numpy(maps[i] / (maps[i] + maps[j]))
        wanted = mask * z[i].double() + (1 - mask) * z[j].double()
        torch.testing.assert_close(mix.mask[i, 0].double(), mask, rtol=0, atol=2e-4)
        torch.testing.assert_close(mixed[i].double(), wanted, rtol=0, atol=2e-3)
        assert float(mix.lam[i]) == pytest.approx(float(mask.mean()), abs=1e-4)


def test_the_gradient_is_that_of_the_loss_at_each_pixel():
    torch.manual_seed(0)
    model, n = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 4)).double(), 5
    z, y = torch.rand(n, 3, 8, 8, dtype=torch.float64), torch.arange(n) % 4
    context = MixContext(z, y, network=model)
    _, mix = GuidedMixup(saliency='gradient', clean_weight=1.0)(z, context)
    maps, losses = [], []
    for image, label in zip(z, y):
        image = image[None].clone().requires_grad_()
        losses.append(nn.functional.cross_entropy(model(image), label[None]))
        (gradient,) = torch.autograd.grad(losses[-1], image)
        one = blurred(gradient[0].square().mean(0).sqrt().numpy(), 7, 3.0)
        maps.append(one / one.sum())
    assert mix.partner.tolist() == greedy(maps)
    for i, j in enumerate(mix.partner.tolist()):
        wanted = torch.from_numpy(maps[i] / (maps[i] + maps[j]))
        torch.testing.assert_close(mix.mask[i, 0].double(), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(context.clean_loss.double(), torch.stack(losses).mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize('n', [1, 2, 3, 20])
def test_pairs_are_one_cycle(n):
    torch.manual_seed(n)
    partner = greedy_cycle(torch.rand(n, n)).tolist()
    row, seen = 0, []
    for _ in range(n):
        row = partner[row]
        seen.append(row)
    assert sorted(seen) == list(range(n))
    assert row == 0


def test_large_images_are_seen_at_128_pixels():
    torch.manual_seed(0)
    small = torch.rand(2, 3, 128, 128)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = spectral_residual(large, 7, 3.0)
    assert found.shape == (2, 256, 256)
    wanted = spectral_residual(nn.functional.interpolate(large, (128, 128), mode='bilinear', antialias=True), 7, 3.0)
    back = nn.functional.interpolate(found[:, None], (128, 128), mode='area')[:, 0]
    torch.testing.assert_close(back, wanted, rtol=0.05, atol=float(wanted.max()) * 0.02)


def test_black_images_are_mixed_in_halves():
    z = torch.zeros(3, 3, 8, 8)
    _, mix = GuidedMixup()(z, MixContext(z))
    torch.testing.assert_close(mix.mask, torch.full((3, 1, 8, 8), 0.5))


def test_bad_input_is_an_input_error():
    z = torch.rand(4, 3, 3, 8)
    with pytest.raises(InputError, match='needs a context'):
        GuidedMixup()(z)
    with pytest.raises(InputError, match='a blur of 7 x 7 px needs sides above 3 px, got 3 x 8'):
        GuidedMixup()(z, MixContext(z))
    with pytest.raises(InputError, match='saliency needs the network and the labels'):
        GuidedMixup(saliency='gradient')(z, MixContext(z))
    with pytest.raises(InputError, match='kernel must be odd'):
        GuidedMixup(kernel=4)
    with pytest.raises(InputError, match="saliency must be 'spectral' or 'gradient'"):
        GuidedMixup(saliency='sr')
