import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import GridMix
from openmix.ops.beta import draw_lam


def mixed_by_hand(own, other, keep, grid):
    """Build the mixed image of one pair pixel by pixel, in float64; return it and the share of the sample."""
    height, width = own.shape[1:]
    out, kept = own.double().clone(), 0
    for row in range(height):
        for column in range(width):
            if (row * grid // height) * grid + column * grid // width in keep:
                kept += 1
            else:
                out[:, row, column] = other[:, row, column].double()
    return out, kept / (height * width)


@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize(('height', 'width', 'grid'), [(16, 16, 4), (12, 20, 4), (9, 7, 3), (2, 5, 4), (1, 1, 2)])
def test_equals_the_cells_one_by_one(share, height, width, grid):
    n = 10
    z = torch.rand(n, 3, height, width)
    torch.manual_seed(0)
    mixed, mix = GridMix(share=share, grid=grid)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    k = 1 if share == 'batch' else n
    lam = draw_lam(k, 1.0).tolist()
    order = torch.rand(k, grid, grid)
    up = (torch.rand(k) < 0.5).tolist()
    for i in range(n):
        j = min(i, k - 1)
        count = math.ceil(lam[j] * grid**2) if up[j] else math.floor(lam[j] * grid**2)
        values = order[j].flatten().tolist()
        keep = set(sorted(range(grid**2), key=values.__getitem__, reverse=True)[:count])
        wanted, kept = mixed_by_hand(z[i], z[partner[i]], keep, grid)
        assert torch.equal(mixed[i].double(), wanted)
        assert mix.lam[i].item() == pytest.approx(kept, abs=1e-6)
    assert torch.equal(mix.partner, partner)


def test_every_cell_is_as_likely_as_another():
    torch.manual_seed(0)
    n = 4000
    _, mix = GridMix(grid=3, lam_range=(0.333, 0.334))(torch.zeros(n, 1, 3, 3))
    often = mix.mask.mean(0).flatten()
    assert (often - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / n)


def test_whole_cells_alone_are_shown():
    torch.manual_seed(0)
    _, mix = GridMix(grid=4)(torch.zeros(20, 1, 32, 32))
    cells = mix.mask.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4)
    assert bool((cells == cells[..., :1]).all())
    assert 0 < mix.mask.mean() < 1


def test_a_grid_of_one_cell_is_refused():
    with pytest.raises(InputError, match=r'GridMix: grid must be in \[2, 64\], got 1'):
        GridMix(grid=1)
    with pytest.raises(InputError, match='GridMix needs an'):
        GridMix()(torch.rand(4, 10))
