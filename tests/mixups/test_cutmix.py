import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import CutMix
from openmix.ops.beta import draw_lam


def paste(own, other, lam, row, column):
    """Apply CutMix to one pair, with NumPy-like slices."""
    height, width = own.shape[1:]
    ratio = math.sqrt(1 - lam)
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    out = own.clone()
    rows = slice(max(row - half_height, 0), min(row + half_height, height))
    columns = slice(max(column - half_width, 0), min(column + half_width, width))
    out[:, rows, columns] = other[:, rows, columns]
    return out


@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 20), (20, 12), (1, 9), (9, 1), (1, 1)])
def test_equals_the_algorithm_pair_by_pair(share, height, width):
    n = 24
    z = torch.rand(n, 3, height, width)
    torch.manual_seed(0)
    mixed, mix = CutMix(alpha=1, share=share)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    k = 1 if share == 'batch' else n
    lam = draw_lam(k, 1.0).expand(n)
    rows, columns = torch.randint(height, (k,)).expand(n), torch.randint(width, (k,)).expand(n)
    for i in range(n):
        wanted = paste(z[i], z[partner[i]], lam[i].item(), int(rows[i]), int(columns[i]))
        assert torch.equal(mixed[i], wanted)
    assert torch.equal(mix.partner, partner)


@pytest.mark.parametrize(('height', 'width'), [(16, 16), (10, 30), (30, 10)])
def test_label_share_equals_the_counted_pixels(height, width):
    torch.manual_seed(0)
    n = 1000
    z = torch.arange(float(n)).view(n, 1, 1, 1).expand(n, 1, height, width).contiguous()
    mixed, mix = CutMix(alpha=1)(z, pairs=torch.arange(n).roll(1))
    area = height * width
    for i in range(n):
        pixels = mixed[i].flatten().tolist()
        assert set(pixels) <= {float(i), float((i - 1) % n)}
        assert mix.lam[i].item() == pytest.approx(pixels.count(float(i)) / area, abs=1e-6)


def test_clipped_boxes_keep_more_than_was_drawn_and_the_label_says_so():
    z = torch.rand(500, 1, 16, 16)
    torch.manual_seed(0)
    _, exact = CutMix()(z)
    torch.manual_seed(0)
    _, drawn = CutMix(correct_lam=False)(z)
    assert torch.equal(exact.mask, drawn.mask)
    assert (exact.lam - drawn.lam).min() >= -1e-6
    assert (exact.lam - drawn.lam).max() > 0.1
    assert math.isclose(drawn.lam.mean().item(), 0.5, abs_tol=4 * math.sqrt(1 / 12 / 500))


def test_an_empty_box_leaves_the_sample_and_its_label_whole():
    z = torch.rand(4, 3, 8, 8)
    mixed, mix = CutMix(lam_range=(0.999, 1.0))(z)
    assert torch.equal(mixed, z)
    assert mix.lam.tolist() == [1.0] * 4


def test_one_box_a_batch():
    torch.manual_seed(0)
    _, mix = CutMix(share='batch')(torch.rand(8, 3, 16, 16))
    assert (mix.mask == mix.mask[:1]).all()
    assert len(set(mix.lam.tolist())) == 1


def test_the_mask_has_the_size_of_the_site():
    mixed, mix = CutMix(sites=('layer2',))(torch.rand(5, 32, 7, 9))
    assert mixed.shape == (5, 32, 7, 9)
    assert mix.mask.shape == (5, 1, 7, 9)


def test_not_an_image_is_an_input_error():
    with pytest.raises(InputError, match='CutMix needs an'):
        CutMix()(torch.rand(4, 10))
