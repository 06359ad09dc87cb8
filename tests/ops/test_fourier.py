import math

import numpy as np
import pytest
import torch

from openmix.ops.fourier import frequencies, low_pass_field, to_pixels, top_share, two_harmonics_field

SIZES = [(16, 16), (12, 20), (21, 12), (12, 21), (7, 5), (1, 9), (9, 1), (1, 1)]


def numpy_scale(height: int, width: int, decay: float) -> np.ndarray:
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    return 1 / np.maximum(np.sqrt(rows**2 + columns**2), 1 / max(height, width)) ** decay


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_fields_equal_numpys_inverse_transform(height, width):
    torch.manual_seed(0)
    field = low_pass_field(5, height, width, 3.0).numpy()
    torch.manual_seed(0)
    noise = torch.randn(5, height, width // 2 + 1, 2).double().numpy()
    spectrum = (noise[..., 0] + 1j * noise[..., 1]) * numpy_scale(height, width, 3.0)
    spectrum[..., 0] *= np.sqrt(2)
    if width % 2 == 0:
        spectrum[..., -1] *= np.sqrt(2)
    wanted = np.fft.irfft2(spectrum, s=(height, width), axes=(1, 2))
    assert field.shape == wanted.shape
    assert np.abs(field - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 20), (20, 12), (32, 32)])
def test_two_harmonics_equal_the_misread_spectrum(height, width):
    torch.manual_seed(0)
    field = two_harmonics_field(4, height, width, 3.0).numpy()
    torch.manual_seed(0)
    noise = torch.randn(4, 2, width // 2 + 1, 2).double().numpy()
    for n in range(4):
        first, second = noise[n] * numpy_scale(height, width, 3.0)[:2, :, None]
        wanted = np.fft.irfftn(first + 1j * second, s=(height, width), axes=(0, 1))
        assert np.abs(field[n] - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_two_harmonics_vary_along_the_width_as_one_wave(height, width):
    torch.manual_seed(0)
    field = two_harmonics_field(4, height, width, 3.0)
    assert field.shape == (4, height, width)
    waves = torch.fft.rfft(field, dim=2).abs()
    assert waves[..., 2:].amax() < 1e-4 * waves.amax() if waves.shape[-1] > 2 else field.isfinite().all()


@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 9), (7, 10)])
def test_isotropic_fields_have_the_papers_power_at_every_frequency(height, width):
    torch.manual_seed(0)
    power = torch.fft.fft2(low_pass_field(4000, height, width, 3.0)).abs().square().mean(0).numpy()
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    wanted = 2 / np.maximum(np.sqrt(rows**2 + columns**2), 1 / max(height, width)) ** 6
    # A bin's power has a standard error of at most sqrt(2 / 4000) of itself.
    assert np.abs(power / wanted - 1).max() < 5 * math.sqrt(2 / 4000)


def test_frequencies_equal_numpys():
    rows, columns = np.fft.fftfreq(7)[:, None], np.fft.rfftfreq(10)
    assert frequencies(7, 10).numpy() == pytest.approx(np.sqrt(rows**2 + columns**2), abs=1e-6)


def test_a_spectrum_without_symmetry_gives_the_real_part_as_numpy_does():
    spectrum = torch.randn(3, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    wanted = np.fft.irfft2(spectrum.numpy(), s=(6, 8), axes=(1, 2))
    assert to_pixels(spectrum, 6, 8).numpy() == pytest.approx(wanted, abs=1e-6)


# The last has so many pixels that the level is selected, not found by sorting.
@pytest.mark.parametrize(('height', 'width'), [*SIZES, (40, 64)])
def test_top_share_takes_the_largest_pixels(height, width):
    torch.manual_seed(0)
    field, share = torch.rand(40, height, width), torch.rand(40)
    share[:2] = torch.tensor([0.0, 1.0])
    mask = top_share(field, share)
    assert mask.shape == (40, 1, height, width)
    for n in range(40):
        exact = share[n].item() * height * width
        values = sorted(field[n].flatten().tolist(), reverse=True)
        count = int(mask[n].sum())
        assert count in (math.floor(exact), math.ceil(exact))
        assert sorted(field[n][mask[n, 0]].tolist(), reverse=True) == values[:count]


def test_of_level_pixels_the_first_are_taken():
    field = torch.tensor([[[1.0, 0.0, 1.0], [1.0, 2.0, 0.0]]]).expand(4, 2, 3)
    mask = top_share(field, torch.tensor([0.0, 1 / 6, 0.5, 5 / 6]) + 1e-4)
    least = [[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0]]
    for got, wanted in zip(mask.flatten(1).int().tolist(), least):
        spare = sum(got) - sum(wanted)  # the coin may add one
        assert spare in (0, 1)
        assert all(g >= w for g, w in zip(got, wanted))


def test_the_coin_rounds_up_half_of_the_time():
    torch.manual_seed(0)
    counts = top_share(torch.rand(4000, 3, 3), torch.full((4000,), 0.5)).sum((1, 2, 3))
    up = (counts == 5).double().mean().item()
    assert set(counts.tolist()) == {4, 5}
    assert abs(up - 0.5) < 4 * 0.5 / math.sqrt(4000)
