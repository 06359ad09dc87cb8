import pytest
import torch

from openmix.ops.grids import cell_of, spread_cells


@pytest.mark.parametrize(('length', 'cells'), [(16, 4), (7, 3), (3, 5), (1, 1), (9, 2)])
def test_every_pixel_lies_in_the_cell_whose_share_of_the_side_it_begins_in(length, cells):
    wanted = [
        next(c for c in range(cells) if c * length <= pixel * cells < (c + 1) * length) for pixel in range(length)
    ]
    assert cell_of(length, cells).tolist() == wanted


def test_cells_are_enlarged_to_rectangles():
    chosen = torch.arange(6).view(1, 1, 2, 3)
    wanted = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5], [3, 3, 4, 4, 5]]
    assert spread_cells(chosen, 4, 5)[0, 0].tolist() == wanted
