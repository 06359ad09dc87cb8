import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import SmoothMix


def share_of_partner(row, column, centre, sigma, shape):
    down, right = abs(row - centre[0]), abs(column - centre[1])
    squared = down**2 + right**2 if shape == 'circle' else max(down, right) ** 2
    return math.exp(-squared / (2 * sigma**2))


@pytest.mark.parametrize('shape', ['circle', 'square'])
@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize(('height', 'width'), [(12, 12), (8, 13), (1, 1)])
def test_equals_the_mask_pixel_by_pixel(shape, share, height, width):
    n = 6
    z = torch.rand(n, 3, height, width)
    torch.manual_seed(0)
    mixed, mix = SmoothMix(share=share, shape=shape)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    k = 1 if share == 'batch' else n
    sigmas = ((0.25 + 0.25 * torch.rand(k)) * min(height, width)).tolist()
    rows, columns = torch.randint(height, (k,)).tolist(), torch.randint(width, (k,)).tolist()
    for i in range(n):
        j, total = min(i, k - 1), 0.0
        for row in range(height):
            for column in range(width):
                g = share_of_partner(row, column, (rows[j], columns[j]), sigmas[j], shape)
                wanted = (1 - g) * z[i, :, row, column].double() + g * z[partner[i], :, row, column].double()
                torch.testing.assert_close(mixed[i, :, row, column].double(), wanted, rtol=0, atol=1e-6)
                total += g
        # The sample has what the partner leaves, in the label as in the image.
        assert mix.lam[i].item() == pytest.approx(1 - total / (height * width), abs=1e-5)


def test_the_partner_fades_with_the_distance_from_the_centre():
    torch.manual_seed(0)
    _, mix = SmoothMix()(torch.zeros(50, 1, 32, 32))
    spot = 1 - mix.mask
    assert bool((spot.amax((1, 2, 3)) == 1).all())
    jump = torch.maximum(
        (spot[..., 1:] - spot[..., :-1]).abs().amax(), (spot[..., 1:, :] - spot[..., :-1, :]).abs().amax()
    )
    assert jump < 0.08  # an edge would be a jump of 1


def test_a_square_has_square_outlines():
    torch.manual_seed(0)
    _, mix = SmoothMix(shape='square', share='batch')(torch.zeros(1, 1, 33, 33))
    spot = 1 - mix.mask[0, 0]
    at = int(spot.argmax())
    rows, columns = torch.arange(33)[:, None] - at // 33, torch.arange(33) - at % 33
    distance = torch.maximum(rows.abs(), columns.abs())
    for d in range(6):
        assert spot[distance == d].unique().numel() == 1


def test_what_it_does_not_draw_and_bad_bounds_are_refused():
    with pytest.raises(InputError, match='SmoothMix draws the width of its spots, and no lam'):
        SmoothMix().holding(0.5)
    with pytest.raises(InputError, match='SmoothMix: sigma'):
        SmoothMix(sigma=(0.0, 0.5))
    with pytest.raises(InputError, match=r"shape must be .* got 'disc'"):
        SmoothMix(shape='disc')
    with pytest.raises(InputError, match='SmoothMix needs an'):
        SmoothMix()(torch.rand(4, 10))
