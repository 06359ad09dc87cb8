import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import FMix
from openmix.ops.beta import draw_lam
from openmix.ops.fourier import low_pass_field, two_harmonics_field

FIELDS = {'isotropic': low_pass_field, 'two_harmonics': two_harmonics_field}


@pytest.mark.parametrize('spectrum', FIELDS)
@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 20), (21, 12), (7, 5), (1, 9), (9, 1), (1, 1)])
def test_equals_thresholding_pair_by_pair(spectrum, share, height, width):
    n = 12
    z = torch.rand(n, 3, height, width)
    torch.manual_seed(0)
    mixed, mix = FMix(alpha=1, share=share, spectrum=spectrum)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    k = 1 if share == 'batch' else n
    lam = draw_lam(k, 1.0).tolist()
    field = FIELDS[spectrum](k, height, width, 3.0)
    up = (torch.rand(k) < 0.5).tolist()
    for i in range(n):
        j = min(i, k - 1)
        exact = lam[j] * height * width
        count = math.ceil(exact) if up[j] else math.floor(exact)
        pixels = field[j].flatten().tolist()
        ranked = sorted(range(height * width), key=pixels.__getitem__, reverse=True)
        keep = torch.zeros(height * width, dtype=torch.bool)
        keep[ranked[:count]] = True
        assert torch.equal(mixed[i], torch.where(keep.view(height, width), z[i], z[partner[i]]))
        assert mix.lam[i].item() == pytest.approx(count / (height * width), abs=1e-6)


@pytest.mark.parametrize('alpha', [0.2, 1, 2])
def test_mean_share_over_many_draws(alpha):
    torch.manual_seed(0)
    _, mix = FMix(alpha=alpha)(torch.zeros(10_000, 1, 4, 4))
    # Rounding to sixteenths adds at most 1 / (4 * 16 ** 2) of variance.
    variance = 1 / (4 * (2 * alpha + 1)) + 1 / 1024
    assert abs(mix.lam.mean().item() - 0.5) < 4 * math.sqrt(variance / 10_000)


def test_masks_are_blobs_not_noise():
    torch.manual_seed(0)
    _, mix = FMix(lam_range=(0.4, 0.6))(torch.zeros(64, 1, 32, 32))
    borders = (mix.mask[..., 1:] != mix.mask[..., :-1]).float().mean().item()
    assert borders < 0.1  # white noise would change at half of the pixels


def test_a_half_precision_input_does_not_change_the_mask():
    z = torch.rand(6, 3, 16, 12)
    torch.manual_seed(0)
    _, full = FMix()(z)
    torch.manual_seed(0)
    mixed, half = FMix()(z.bfloat16())
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(full.mask, half.mask)


def test_one_mask_a_batch_and_hidden_sizes():
    mixed, mix = FMix(share='batch', sites=('layer1',))(torch.rand(8, 16, 7, 9))
    assert mixed.shape == (8, 16, 7, 9)
    assert (mix.mask == mix.mask[:1]).all()


def test_bad_input_is_an_input_error():
    with pytest.raises(InputError, match=r"spectrum must be .* got 'two_harmonic'; did you mean 'two_harmonics'"):
        FMix(spectrum='two_harmonic')
    with pytest.raises(InputError, match='FMix needs an'):
        FMix()(torch.rand(4, 10, 5))
