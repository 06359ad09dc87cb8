"""Test the occlusion of images by value: which pixels become black, how many, and by which draws."""

import math

import pytest
import torch

from openmix.ops.occlusion import drop_orders, occlude, patch_side


def slow(image, side, order, share):
    """Black out one image, pixel by pixel."""
    channels, height, width = image.shape
    columns = math.ceil(width / side)
    dropped = round(share * math.ceil(height / side) * columns)
    out = image.clone()
    for y in range(height):
        for x in range(width):
            if order[(y // side) * columns + x // side] < dropped:
                for channel in range(channels):
                    out[channel, y, x] = 0
    return out


@pytest.mark.parametrize(('height', 'width', 'side'), [(8, 8, 2), (7, 10, 3), (4, 4, 8), (5, 3, 1)])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.5, 1.0])
def test_the_first_patches_become_black(height, width, side, share):
    x = torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0)) + 0.1
    order = drop_orders(math.ceil(height / side) * math.ceil(width / side), [5, 6, 7])
    found = occlude(x, side, order, share)
    for image, one, drawn in zip(x, found, order):
        assert torch.equal(one, slow(image, side, drawn.tolist(), share))


def test_draws_are_the_image_s_own_and_nested():
    order = drop_orders(16, [3, 8])
    assert torch.equal(order[1], drop_orders(16, [8])[0])
    assert not torch.equal(order[0], order[1])
    assert order.sort(1).values.tolist() == [list(range(16))] * 2
    x = torch.ones(2, 3, 8, 8)
    few, many = (occlude(x, 2, order, share) for share in (0.25, 0.75))
    assert (many <= few).all()
    assert few.mean((1, 2, 3)).tolist() == [0.75, 0.75]
    assert many.mean((1, 2, 3)).tolist() == [0.25, 0.25]


def test_the_grid_of_the_paper():
    sides = [patch_side(224, 224), patch_side(64, 64), patch_side(32, 32), patch_side(16, 16), patch_side(224, 300)]
    assert sides == [16, 4, 2, 1, 16]
    assert patch_side(8, 8) == 1
