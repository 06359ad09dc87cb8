"""Compare augmentation of batches on the device with the same augmentation of single images."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from openmix.data.color_jitter import BatchColorJitter, blend, luma
from openmix.data.pipeline import build_pipeline, run_pipeline
from openmix.errors import InputError
from openmix.models.preprocessor import ImagePreprocessor

NORMALISE = dict(mean=(0.5, 0.25, 0.1), std=(0.2, 0.4, 0.5))


def images(n=64, side=12):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('factor', [0.0, 0.6, 1.0, 1.7])
def test_each_operation_is_torchvisions(factor):
    x, drawn = images(4) / 255, torch.full((4,), factor)
    bases = {
        F.adjust_brightness: 0.0,
        F.adjust_contrast: luma(x).mean((1, 2, 3), keepdim=True),
        F.adjust_saturation: luma(x),
    }
    for function, base in bases.items():
        torch.testing.assert_close(blend(x, base, drawn, 1.0), function(x, factor), rtol=0, atol=2e-6)


def test_jitter_is_distributed_as_torchvisions():
    """In the level, the contrast and the colourfulness of four images, each drawn 500 times."""
    options = dict(brightness=0.4, contrast=0.3, saturation=0.8)
    torch.manual_seed(0)
    x = (images(4) / 255).repeat(500, 1, 1, 1)
    ours = torch.cat([BatchColorJitter(**options)(part) for part in x.split(4)])
    theirs = torch.stack([v2.ColorJitter(**options)(image) for image in x])
    for place in range(4):
        for statistic in (
            lambda z: z.mean((2, 3)),
            lambda z: z.std((2, 3)),
            lambda z: (z - luma(z)).abs().mean((2, 3)),
        ):
            a, b = statistic(ours[place::4]), statistic(theirs[place::4])
            error = ((a.var(0) + b.var(0)) / 500).sqrt()
            assert ((a.mean(0) - b.mean(0)).abs() < 4.5 * error).all()
            torch.testing.assert_close(a.std(0), b.std(0), rtol=0.2, atol=0.002)


def test_every_image_has_factors_of_its_own():
    torch.manual_seed(0)
    x = torch.full((100, 3, 4, 4), 0.4)
    values = BatchColorJitter(brightness=0.5)(x)[:, 0, 0, 0]
    assert len(values.unique()) == 100
    assert 0.2 <= values.min() < 0.24
    assert 0.56 < values.max() <= 0.6


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.bfloat16])
def test_jitter_keeps_dtype_and_input(dtype):
    x = images(5) if dtype == torch.uint8 else (images(5) / 255).to(dtype)
    before = x.clone()
    jitter = BatchColorJitter(0.4, 0.4, 0.4)
    torch.manual_seed(0)
    out = jitter(x)
    torch.manual_seed(0)
    assert torch.equal(jitter(x), out)
    assert (out.dtype, out.shape) == (x.dtype, x.shape)
    assert torch.equal(x, before)
    assert torch.equal(BatchColorJitter()(x), x)
    assert jitter(x.to('meta')).shape == x.shape


def test_uint8_is_rounded_once():
    x = images(8)
    torch.manual_seed(0)
    out = BatchColorJitter(0.4, 0.4, 0.4)(x)
    torch.manual_seed(0)
    exact = BatchColorJitter(0.4, 0.4, 0.4)(x / 255) * 255
    assert (out - exact).abs().max() < 0.501


def test_a_negative_strength_is_one_line():
    with pytest.raises(InputError, match=r'BatchColorJitter: contrast must be >= 0, got -1'):
        BatchColorJitter(contrast=-1)


@pytest.mark.parametrize('p', [0.0, 1.0])
def test_moving_the_flip_to_the_device_changes_no_pixel(p):
    x = images(6, 20)
    resize = dict(type='torchvision/Resize', size=16)
    on_host = build_pipeline([resize, dict(type='torchvision/RandomHorizontalFlip', p=p)])
    on_device = build_pipeline([resize])
    host, device = (
        torch.stack([run_pipeline(steps, v2.functional.to_pil_image(image)) for image in x])
        for steps in (on_host, on_device)
    )
    expected = ImagePreprocessor(**NORMALISE)({'inputs': host}, training=True)['inputs']
    moved = ImagePreprocessor(**NORMALISE, augment=[dict(type='BatchRandomFlip', p=p)])
    assert torch.equal(moved({'inputs': device}, training=True)['inputs'], expected)


def test_the_device_flips_as_many_as_the_pipeline():
    """The images tell which way they look: dark to the left."""
    torch.manual_seed(0)
    x = torch.tensor([0, 255], dtype=torch.uint8).expand(2000, 3, 2, 2)
    steps = build_pipeline([dict(type='torchvision/RandomHorizontalFlip')])
    host = torch.stack([run_pipeline(steps, image) for image in x])
    device = ImagePreprocessor((0.0,) * 3, (1.0,) * 3, augment=[dict(type='BatchRandomFlip')])
    rates = [z[:, 0, 0, 0].float().gt(0).float().mean() for z in (host, device({'inputs': x}, training=True)['inputs'])]
    for rate in rates:
        assert abs(rate - 0.5) < 4.5 * (0.25 / 2000) ** 0.5
