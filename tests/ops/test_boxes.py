import math

import pytest
import torch
import torch.nn.functional as F

from openmix.ops.boxes import (
    box_edges,
    box_mask,
    cut_sizes,
    draw_centres,
    resize_bilinear,
    resize_nearest,
    scaled_sizes,
)

SIZES = [(16, 16), (12, 20), (20, 12), (1, 9), (9, 1), (1, 1)]


def slow_mask(lam: float, row: int, column: int, height: int, width: int) -> list[list[bool]]:
    """Compute the mask of one CutMix box by the paper's algorithm, pixel by pixel."""
    ratio = math.sqrt(1 - lam)
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    return [
        [
            row - half_height <= y < row + half_height and column - half_width <= x < column + half_width
            for x in range(width)
        ]
        for y in range(height)
    ]


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_masks_equal_the_pixel_by_pixel_algorithm(height, width):
    torch.manual_seed(0)
    lam = torch.rand(64)
    lam[:3] = torch.tensor([0.0, 0.75, 1.0])
    centres = draw_centres(64, height, width)
    mask = box_mask(*box_edges(centres, cut_sizes(lam, height, width), height, width), height, width)
    slow = [slow_mask(float(share), *map(int, at), height, width) for share, at in zip(lam, centres)]
    assert mask.shape == (64, 1, height, width)
    assert torch.equal(mask[:, 0], torch.tensor(slow))


def test_sizes_do_not_swap_height_and_width():
    assert cut_sizes(torch.tensor([0.75]), 10, 40).tolist() == [[5, 20]]
    assert scaled_sizes(torch.tensor([0.25]), 40, 10).tolist() == [[10, 2]]


def test_centres_are_uniform_over_the_pixels():
    torch.manual_seed(0)
    n, height, width = 20_000, 5, 8
    rows, columns = draw_centres(n, height, width).unbind(1)
    cells = torch.bincount(rows * width + columns, minlength=height * width).double()
    share = 1 / (height * width)
    assert len(cells) == height * width
    assert (cells / n - share).abs().max() < 4.5 * math.sqrt(share * (1 - share) / n)


def test_edges_are_clipped_to_the_image():
    low, high = box_edges(torch.tensor([[0, 0], [7, 11]]), torch.tensor([[6, 8], [6, 8]]), 8, 12)
    assert low.tolist() == [[0, 0], [4, 7]]
    assert high.tolist() == [[3, 4], [8, 12]]


@pytest.mark.parametrize(('height', 'width'), SIZES)
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_resizing_equals_interpolate_in_every_box(height, width, interpolation):
    torch.manual_seed(0)
    n = 60
    z = torch.rand(7, 2, height, width, dtype=torch.float64)
    rows = torch.randint(7, (n,))
    low = torch.stack([torch.randint(height, (n,)), torch.randint(width, (n,))], 1)
    high = torch.stack(
        [low[:, 0] + 1 + torch.randint(height, (n,)), low[:, 1] + 1 + torch.randint(width, (n,))], 1
    ).minimum(torch.tensor([height, width]))
    resized = (resize_nearest if interpolation == 'nearest' else resize_bilinear)(z, rows, low, high)
    assert resized.shape == (n, 2, height, width)
    for i in range(n):
        (top, left), (bottom, right) = low[i].tolist(), high[i].tolist()
        size = (bottom - top, right - left)
        options = {'align_corners': False} if interpolation == 'bilinear' else {}
        wanted = F.interpolate(z[rows[i]][None], size=size, mode=interpolation, **options)[0]
        torch.testing.assert_close(resized[i, :, top:bottom, left:right], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize('length', [32, 64, 96, 224])
def test_nearest_picks_the_pixels_that_interpolate_picks_at_every_size(length):
    line = torch.arange(float(length)).view(1, 1, 1, length)
    sizes = torch.arange(1, length + 1)
    low, high = torch.zeros(length, 2, dtype=torch.int64), torch.stack([torch.ones_like(sizes), sizes], 1)
    resized = resize_nearest(line, torch.zeros_like(sizes), low, high)
    for i, size in enumerate(sizes.tolist()):
        assert torch.equal(resized[i, 0, 0, :size], F.interpolate(line, size=(1, size), mode='nearest')[0, 0, 0])


@pytest.mark.parametrize('resize', [resize_nearest, resize_bilinear])
def test_resizing_into_an_empty_box_stays_finite(resize):
    empty = torch.tensor([[3, 3]])
    assert resize(torch.rand(2, 3, 8, 8), torch.tensor([1]), empty, empty).isfinite().all()
