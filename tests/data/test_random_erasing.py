import random

import pytest
import torch
from timm.data.random_erasing import RandomErasing as TimmErasing

from openmix.data.random_erasing import BatchRandomErasing
from openmix.errors import InputError


def boxes(before, after):
    """(N, H, W) bool where an image was changed."""
    return (before != after).any(1)


def test_changes_one_box_an_image_and_nothing_else():
    torch.manual_seed(0)
    x = torch.full((64, 3, 40, 48), 7.0)
    erased = boxes(x, BatchRandomErasing(p=1.0)(x))
    for one in erased:
        rows, columns = one.any(1).nonzero()[:, 0], one.any(0).nonzero()[:, 0]
        box = one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        assert 0.01 < box.numel() / one.numel() < 0.4
    assert (x == 7).all()


def test_boxes_are_as_large_and_as_frequent_as_timms():
    torch.manual_seed(0)
    random.seed(0)
    x = torch.full((3000, 1, 64, 64), 9.0)
    ours = boxes(x, BatchRandomErasing(p=0.25, mean=(0.5,), std=(0.2,))(x)).float()
    timms = boxes(x, TimmErasing(0.25, mode='pixel', device='cpu')(x.clone())).float()
    for share in (ours, timms):
        hit = share.flatten(1).any(1)
        assert abs(hit.float().mean() - 0.25) < 0.03
    areas = [share.mean((1, 2)) for share in (ours, timms)]
    means = [area[area > 0].mean() for area in areas]
    assert abs(means[0] - means[1]) < 0.015
    assert abs(ours.mean(0) - timms.mean(0)).max() < 0.04  # where they lie


def test_the_noise_is_the_data_sets():
    torch.manual_seed(0)
    x = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    module = BatchRandomErasing(p=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    noise = module(x).float() / 255
    torch.testing.assert_close(noise.mean((0, 2, 3)), module.mean.flatten(), atol=0.01, rtol=0)
    torch.testing.assert_close(noise.std((0, 2, 3)), module.std.flatten(), atol=0.01, rtol=0)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.bfloat16])
def test_keeps_dtype_and_probability_zero_keeps_all(dtype):
    x = torch.randint(0, 2, (5, 3, 16, 24)).to(dtype)
    assert torch.equal(BatchRandomErasing(p=0.0)(x), x)
    out = BatchRandomErasing(p=1.0)(x)
    assert (out.dtype, out.shape) == (x.dtype, x.shape)
    assert BatchRandomErasing().to('meta')(x.to('meta')).shape == x.shape


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(p=1.5), r'BatchRandomErasing: p must be in \[0, 1\], got 1.5'),
        (dict(scale=(0.5, 0.1)), 'scale must be two numbers, lowest first'),
        (dict(ratio=(0.0, 1.0)), 'ratio: both numbers must be > 0'),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        BatchRandomErasing(**options)
