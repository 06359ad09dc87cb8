"""FixMatch's RandAugment and Cutout, held against formulas of single operations."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from openmix.data.level_rand_augment import Cutout, LevelRandAugment, strength_at
from openmix.data.pipeline import build_pipeline
from openmix.data.uniform_rand_augment import OPERATIONS
from openmix.errors import InputError

WIDTH, HEIGHT = 37, 29


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def moved(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def at_level(name, image, level, sign):
    """Transform an image as the released codes do, from their tables of (operation, largest value, offset)."""
    factor = level * 0.9 / 10 + 0.05
    shear, degrees = sign * level * 0.3 / 10, sign * int(level * 30 / 10)
    shift = sign * level * 0.3 / 10
    return {
        'autocontrast': lambda: ImageOps.autocontrast(image),
        'brightness': lambda: ImageEnhance.Brightness(image).enhance(factor),
        'color': lambda: ImageEnhance.Color(image).enhance(factor),
        'contrast': lambda: ImageEnhance.Contrast(image).enhance(factor),
        'equalize': lambda: ImageOps.equalize(image),
        'identity': lambda: image,
        'posterize': lambda: ImageOps.posterize(image, int(level * 4 / 10) + 4),
        'rotate': lambda: image.rotate(degrees),
        'sharpness': lambda: ImageEnhance.Sharpness(image).enhance(factor),
        'shear_x': lambda: moved(image, 1, shear, 0, 0, 1, 0),
        'shear_y': lambda: moved(image, 1, 0, 0, shear, 1, 0),
        # The released codes invert from 256 - int(25.6 level); the levels 1 to 9 give the same nine thresholds.
        'solarize': lambda: ImageOps.solarize(image, 256 - int((10 - level) * 256 / 10)),
        'translate_x': lambda: moved(image, 1, 0, int(shift * WIDTH), 0, 1, 0),
        'translate_y': lambda: moved(image, 1, 0, 0, 0, 1, int(shift * HEIGHT)),
    }[name]()


@pytest.mark.parametrize('name', OPERATIONS)
def test_an_operation_at_a_level_is_that_of_the_released_codes(name):
    image = noise()
    for level in range(1, 10):
        for negative in (False, True):
            found = OPERATIONS[name].image(image, strength_at(name, level, negative, image.size))
            wanted = at_level(name, image, level, -1 if negative else 1)
            assert np.array_equal(np.asarray(found), np.asarray(wanted)), (name, level, negative)


def test_operations_levels_and_signs_are_drawn_uniformly_and_applied_with_their_probability(monkeypatch):
    seen, image = Counter(), noise()

    def heard(name):
        operation = OPERATIONS[name]
        return operation._replace(image=lambda i, m: seen.update([(name, round(m, 6))]) or i)

    for name in list(OPERATIONS):
        monkeypatch.setitem(OPERATIONS, name, heard(name))
    transform, draws = LevelRandAugment(layers=2, prob=0.25), 4000
    for _ in range(draws):
        transform(image)
    assert sum(seen.values()) == pytest.approx(2 * draws * 0.25, rel=0.1)
    assert {name for name, _ in seen} == set(OPERATIONS)
    degrees = {strength: count for (name, strength), count in seen.items() if name == 'rotate'}
    assert degrees.keys() == {sign * 3 * level for level in range(1, 10) for sign in (-1, 1)}
    counts = Counter(name for name, _ in seen.elements())
    assert all(count == pytest.approx(2000 / 14, rel=0.4) for count in counts.values())


def test_cutout_is_a_square_with_its_centre_anywhere():
    white, reached = Image.new('RGB', (WIDTH, HEIGHT), 'white'), set()
    for _ in range(300):
        pixels = np.asarray(Cutout(size=6, fill=(1, 2, 3))(white))
        inside = (pixels == (1, 2, 3)).all(2)
        assert (pixels[~inside] == 255).all()
        rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
        assert inside.sum() == len(rows) * len(columns)
        # The last pixel is included; below and to the right the image ends.
        assert len(rows) == min(7, HEIGHT - rows[0])
        assert len(columns) == min(7, WIDTH - columns[0])
        reached |= {('top', rows[0] == 0), ('bottom', rows[-1] == HEIGHT - 1)}
        reached |= {('left', columns[0] == 0), ('right', columns[-1] == WIDTH - 1)}
    assert len(reached) == 8
    assert np.asarray(white).min() == 255


def test_cutout_takes_the_box_of_the_released_code(monkeypatch):
    image = noise()
    for u, v in ((0.0, 0.0), (0.5, 0.5), (0.99, 0.2), (0.13, 0.999)):
        monkeypatch.setattr(torch, 'rand', lambda *_, u=u, v=v, **__: torch.tensor([u, v], dtype=torch.float64))
        x, y = int(max(0, u * WIDTH - 16 / 2)), int(max(0, v * HEIGHT - 16 / 2))
        wanted = image.copy()
        box = (x, y, int(min(WIDTH, x + 16)), int(min(HEIGHT, y + 16)))
        ImageDraw.Draw(wanted).rectangle(box, (127, 127, 127))
        assert np.array_equal(np.asarray(Cutout()(image)), np.asarray(wanted))


def test_both_stand_in_a_pipeline():
    first, second = build_pipeline([dict(type='LevelRandAugment'), dict(type='Cutout', size=8)])
    assert second(first(noise())).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ('build', 'line'),
    [
        (lambda: LevelRandAugment(layers=0), 'LevelRandAugment: layers must be in'),
        (lambda: LevelRandAugment(prob=1.5), 'LevelRandAugment: prob must be in'),
        (lambda: Cutout(size=0), 'Cutout: size must be >= 1'),
        (lambda: Cutout(fill=(0, 0)), 'Cutout: fill must be three levels'),
    ],
)
def test_an_argument_out_of_range_is_refused(build, line):
    with pytest.raises(InputError, match=line):
        build()
