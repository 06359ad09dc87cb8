"""Test corruptions against loops over pixels, Pillow and SciPy, and their noise by its moments."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from openmix.ops.corruptions import (
    KINDS,
    LEVELS,
    brightness,
    contrast,
    corrupt,
    gaussian_blur,
    gaussian_noise,
    impulse_noise,
    jpeg_compression,
    pixelate,
    saturate,
    shot_noise,
    speckle_noise,
)


def images(n=2, height=12, width=16):
    levels = torch.randint(256, (n, 3, height, width), generator=torch.Generator().manual_seed(0))
    levels[:, :, 0, 0], levels[:, :, 0, 1], levels[:, :, 0, 2] = 0, 255, 100  # black, white and grey
    return levels / 255


def generators(n, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def as_pillow(image):
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def from_pillow(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize('level', LEVELS['imagenet']['gaussian_blur'][:2] + LEVELS['cifar']['gaussian_blur'])
def test_blur_is_scipys(level):
    x = images()
    wanted = gaussian_filter(x.double().numpy(), (0, 0, level, level), mode='nearest', truncate=4)
    torch.testing.assert_close(gaussian_blur(x.double(), level), torch.from_numpy(wanted))


@pytest.mark.parametrize('scale', LEVELS)
@pytest.mark.parametrize('size', [(12, 16), (32, 32), (33, 50)])
def test_pixelate_is_pillows(scale, size):
    for level in LEVELS[scale]['pixelate']:
        for image, found in zip(images(1, *size), pixelate(images(1, *size), level)):
            small = as_pillow(image).resize((int(size[1] * level), int(size[0] * level)), Image.Resampling.BOX)
            wanted = from_pillow(small.resize(size[::-1], Image.Resampling.BOX))
            # Pillow weighs in fixed point, so a mean at half a grey level may be rounded otherwise.
            assert (found - wanted).abs().max() <= 1.01 / 255
            assert ((found - wanted).abs() > 1e-4).double().mean() < 0.01


def in_hsv(x, change):
    """Change (h, s, v) of every pixel in a loop."""
    out = torch.empty_like(x)
    for n, _, i, j in np.ndindex(len(x), 1, *x.shape[2:]):
        out[n, :, i, j] = torch.tensor(colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*x[n, :, i, j].tolist()))))
    return out


@pytest.mark.parametrize('level', LEVELS['cifar']['brightness'])
def test_brightness_adds_to_the_value(level):
    x = images().double()
    torch.testing.assert_close(brightness(x, level), in_hsv(x, lambda h, s, v: (h, s, min(v + level, 1))))


@pytest.mark.parametrize('level', LEVELS['imagenet']['saturate'])
def test_saturation_is_scaled_and_raised(level):
    x = images().double()
    wanted = in_hsv(x, lambda h, s, v: (h, min(max(s * level[0] + level[1], 0), 1), v))
    torch.testing.assert_close(saturate(x, level), wanted)


def test_contrast_is_of_each_channel():
    x = images()
    found = contrast(x, 0.4)
    for n, c in np.ndindex(2, 3):
        mean = sum(x[n, c].flatten().tolist()) / x[n, c].numel()
        torch.testing.assert_close(found[n, c], 0.4 * x[n, c] + 0.6 * mean)


@pytest.mark.parametrize('quality', [80, 7])
def test_jpeg_is_pillows(quality):
    x = torch.nn.functional.interpolate(images(2, 4, 4), (24, 32), mode='bilinear')
    for image, found in zip(x, jpeg_compression(x, quality)):
        stored = io.BytesIO()
        as_pillow(image).save(stored, 'JPEG', quality=quality)
        assert (found - from_pillow(Image.open(stored))).abs().max() <= 3 / 255


def test_noise_has_its_size():
    grey = torch.full((1, 3, 128, 128), 0.5)
    assert gaussian_noise(grey, 0.1, generators(1)).std().item() == pytest.approx(0.1, rel=0.02)
    assert speckle_noise(grey, 0.1, generators(1)).std().item() == pytest.approx(0.05, rel=0.02)
    shot = shot_noise(grey, 60, generators(1))
    assert shot.mean().item() == pytest.approx(0.5, rel=0.01)
    assert shot.std().item() == pytest.approx((30**0.5) / 60, rel=0.02)
    impulse = impulse_noise(grey, 0.2, generators(1))
    assert [(impulse == value).double().mean().item() for value in (0, 1)] == pytest.approx([0.1, 0.1], abs=0.005)
    assert (impulse == 0.5).double().mean().item() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('scale', LEVELS)
def test_every_kind_and_severity(kind, scale):
    x, ids = images(2, 32, 32), torch.tensor([5, 7])
    found = [corrupt(x, kind, severity, scale, ids) for severity in range(1, 6)]
    for one in found:
        assert (one.shape, one.dtype) == (x.shape, x.dtype)
        assert one.min() >= 0
        assert one.max() <= 1
        assert not torch.equal(one, x)
    # An image's noise does not depend on the batch, and differs from that of others and of other severities.
    assert torch.equal(corrupt(x[1:], kind, 3, scale, ids[1:]), found[2][1:])
    assert not torch.equal(found[0], found[4])
    if kind.endswith('noise'):
        assert not torch.equal(corrupt(x, kind, 3, scale, ids.flip(0)), found[2])
