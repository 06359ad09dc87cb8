"""Compare fine-grained saliency with OpenCV, with stored results of OpenCV, and with a loop over pixels.

`tests/data/saliency_opencv.npz` contains small images and the results of opencv-contrib-python-headless 5.0.0 (times
255): `bytes_*` for the image in BGR, `floats_*` for its normalised float32 version in RGB, as published SaliencyMix
runs called it. `tests/data/saliency_opencv_large.npz` contains the maps of `large_image`, whose sums exceed the exact
integers of float32.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from openmix.errors import InputError
from openmix.ops import saliency
from openmix.ops.saliency import byte_misread_saliency, fine_grained_saliency

STORED = np.load(Path(__file__).parents[1] / 'data' / 'saliency_opencv.npz')
LARGE = np.load(Path(__file__).parents[1] / 'data' / 'saliency_opencv_large.npz')
NAMES = sorted(name.removeprefix('image_') for name in STORED if name.startswith('image_'))
MEAN, STD = np.float32([0.5071, 0.4865, 0.4409]), np.float32([0.2673, 0.2564, 0.2762])
SIZES = [(20, 26), (13, 30), (1, 9), (9, 1), (1, 1), (2, 2)]


def normalise(image: np.ndarray) -> np.ndarray:
    return (image.astype(np.float32) / np.float32(255) - MEAN) / STD


def batch_first(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def draw_image(height: int, width: int, seed: int) -> np.ndarray:
    """Draw a smooth wave with one distinct patch and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([127 + 90 * np.sin(x / (3 + c) + rng.uniform(0, 6)) * np.cos(y / (4 + c)) for c in range(3)], -1)
    top, left = rng.integers(0, height), rng.integers(0, width)
    image[top : top + 5, left : left + 5] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def mirror(i: int, length: int) -> int:
    """Mirror an index at the border: -1 becomes 1, `length` becomes length - 2; a single pixel stays."""
    if length == 1:
        return 0
    return -i if i < 0 else 2 * length - 2 - i if i >= length else i


def smooth(gray: np.ndarray) -> np.ndarray:
    """Compute sixteen times the binomial average, columns first."""
    height, width = gray.shape
    out = gray
    at_x = [(out[:, mirror(x - 1, width)] + out[:, mirror(x + 1, width)]) + 2 * out[:, x] for x in range(width)]
    out = np.stack(at_x, 1)
    at_y = [(out[mirror(y - 1, height)] + out[mirror(y + 1, height)]) + 2 * out[y] for y in range(height)]
    return np.stack(at_y)


def slow_contrast(gray: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Compute the map of one image in loops over windows and pixels, in float64, so OpenCV's rounding is left out."""
    height, width = gray.shape
    on, off = np.zeros((height, width), int), np.zeros((height, width), int)
    for reach in (12, 24, 48, 28, 56, 112):
        for y in range(height):
            for x in range(width):
                window = gray[max(0, y - reach + 1) : y + reach + 1, max(0, x - reach + 1) : x + reach + 1]
                if window.size == 1:
                    continue
                mean = (window.astype(np.float64).sum() - own[y, x]) / (window.size - 1)
                difference = np.float32(own[y, x] - mean)
                on[y, x] += int(max(difference, 0)) % 256
                off[y, x] += int(max(-difference, 0)) % 256
    stretched = [
        (255.0 * (s.astype(np.float32) / np.float32(s.max())).astype(np.float64)).astype(int) if s.max() else s
        for s in (on, off)
    ]
    return (stretched[0] + stretched[1]) % 256


def slow_bytes(image: np.ndarray) -> np.ndarray:
    wide = image.astype(int)
    gray = (wide @ np.array([9798, 19235, 3735]) + 2**14) // 2**15
    for _ in range(2):
        gray = (smooth(gray) + 8) // 16
    return slow_contrast(gray, gray)


def slow_floats(image: np.ndarray) -> np.ndarray:
    """Compute the map of a float image as OpenCV does: channel 0 is blue, values are bytes of the row's memory."""
    blue, green, red = np.float32([0.114, 0.587, 0.299]).astype(np.float64)
    wide = image.astype(np.float64)
    gray = (wide[..., 1] * green).astype(np.float32)
    gray = (wide[..., 0] * blue + gray).astype(np.float32)
    gray = (wide[..., 2] * red + gray).astype(np.float32)
    for _ in range(2):
        gray = smooth(gray) / np.float32(16)
    width = image.shape[1]
    own = np.array([list(row.tobytes()[:width]) for row in gray])
    return slow_contrast(gray, own)


@pytest.mark.parametrize('name', NAMES)
def test_equals_the_stored_opencv_maps(name):
    image = STORED[f'image_{name}']
    assert np.array_equal(fine_grained_saliency(batch_first(image))[0], STORED[f'bytes_{name}'])
    assert np.array_equal(byte_misread_saliency(batch_first(normalise(image)))[0], STORED[f'floats_{name}'])


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_bytes_equal_the_loop_over_pixels(height, width):
    image = draw_image(height, width, seed=height)
    assert np.array_equal(fine_grained_saliency(batch_first(image))[0], slow_bytes(image))


def large_image(height: int, width: int, down: int, across: int, length: int) -> np.ndarray:
    """Draw bright waves with integer values."""
    y, x = np.mgrid[:height, :width]
    channels = [255 - ((y * down + x * across) // length + shift) % 40 for shift in (0, 7, 14)]
    return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize(
    ('name', 'shape'),
    [('wide', (300, 260, 1, 1, 16)), ('tall', (720, 120, 2, 3, 50)), ('stripes', (300, 260, 1, 0, 8))],
)
def test_large_images_round_as_opencv_does(name, shape):
    assert np.array_equal(fine_grained_saliency(batch_first(large_image(*shape)))[0], LARGE[name])


def test_what_rounds_large_sums_leaves_small_ones_exact(monkeypatch):
    image = batch_first(draw_image(31, 60, seed=0))
    small = fine_grained_saliency(image)
    monkeypatch.setattr(saliency, '_EXACT', 0)
    assert torch.equal(fine_grained_saliency(image), small)


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_floats_equal_the_loop_over_pixels(height, width):
    image = normalise(draw_image(height, width, seed=width))
    assert np.array_equal(byte_misread_saliency(batch_first(image))[0], slow_floats(image))


@pytest.mark.parametrize(('height', 'width'), [*SIZES, (32, 32), (64, 96), (224, 224), (300, 260)])
def test_equals_opencv(height, width):
    cv2 = pytest.importorskip('cv2')
    if not hasattr(cv2, 'saliency'):
        pytest.skip('this cv2 has no saliency module: it is in opencv-contrib-python-headless')
    detector = cv2.saliency.StaticSaliencyFineGrained_create()
    for seed in range(3):
        image = draw_image(height, width, seed)
        for ours, input_, most in (
            (fine_grained_saliency(batch_first(image)), np.ascontiguousarray(image[..., ::-1]), 0),
            (byte_misread_saliency(batch_first(normalise(image))), normalise(image), 1),
        ):
            theirs = np.rint(detector.computeSaliency(input_)[1] * 255).astype(int)
            assert np.abs(ours[0].numpy().astype(int) - theirs).max() <= most
            assert int(ours.argmax()) == int(theirs.argmax())


def test_a_batch_is_its_images_one_by_one():
    images = torch.cat([batch_first(draw_image(24, 18, seed)) for seed in range(5)])
    floats = images.float() / 255
    assert torch.equal(fine_grained_saliency(images), torch.cat([fine_grained_saliency(x[None]) for x in images]))
    assert torch.equal(byte_misread_saliency(floats), torch.cat([byte_misread_saliency(x[None]) for x in floats]))


@pytest.mark.parametrize(('patch', 'ground'), [(250, 60), (60, 250)])
def test_a_lone_square_reaches_the_top_and_a_flat_image_is_empty(patch, ground):
    images = torch.full((2, 3, 40, 32), ground, dtype=torch.uint8)
    images[0, :, 22:28, 5:11] = patch
    square, flat = fine_grained_saliency(images)
    assert square.max() == square[22:28, 5:11].max() == 255
    assert not flat.any()


def test_gray_images_are_read_as_they_are():
    gray = torch.from_numpy(draw_image(20, 20, 0)[..., :1].copy()).permute(2, 0, 1)[None]
    assert torch.equal(fine_grained_saliency(gray), fine_grained_saliency(gray.expand(1, 3, 20, 20)))


def test_wrong_input_is_an_input_error():
    with pytest.raises(InputError, match='uint8'):
        fine_grained_saliency(torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match='floating'):
        byte_misread_saliency(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    for detector, dtype in ((fine_grained_saliency, torch.uint8), (byte_misread_saliency, torch.float32)):
        with pytest.raises(InputError, match=r'\(N, 3, H, W\)'):
            detector(torch.zeros(1, 4, 8, 8, dtype=dtype))
