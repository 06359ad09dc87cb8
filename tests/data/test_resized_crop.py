"""Compare the random crop that is resized in torch with torchvision's and with Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from openmix.data.image_folder import ImageFolder
from openmix.data.pipeline import build_pipeline, seed_generators
from openmix.data.resized_crop import steps_on_pixels
from openmix.registry import TRANSFORMS

HFLIP, VFLIP = (dict(type=f'torchvision/Random{way}Flip') for way in ('Horizontal', 'Vertical'))
FILTERS = {'bilinear': Image.Resampling.BILINEAR, 'bicubic': Image.Resampling.BICUBIC}
SEED, EPOCH = 5, 2


def crop(size=64, **options):
    return dict(type='torchvision/RandomResizedCrop', size=size, interpolation='bicubic') | options


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """Eight JPEG files of different shapes with detail at every scale, one of them as small as a crop may be."""
    folder = tmp_path_factory.mktemp('photos') / 'train' / 'photo'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(150, 200), (200, 150), (61, 47), (300, 40), (40, 300), (90, 90), (33, 64)]):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((width, height))
        pixels = np.asarray(coarse) + rng.normal(0, 12, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f'{i}.jpg', quality=90)
    Image.new('RGB', (1, 1), (9, 90, 200)).save(folder / '7.jpg')
    return folder.parent.parent


def by_pillow(path, draw, size, interpolation):
    """(size, size, 3): torchvision's draws, then Pillow's resize across and down, each rounded."""
    seed_generators(SEED, EPOCH, draw)
    image = Image.open(path).convert('RGB')
    box = v2.RandomResizedCrop(size).make_params([image])
    image = image.crop((box['left'], box['top'], box['left'] + box['width'], box['top'] + box['height']))
    image = image.resize((size, image.height), FILTERS[interpolation])
    image = image.resize((size, size), FILTERS[interpolation])
    return np.asarray(image)[:, ::-1] if torch.rand(1) < 0.5 else np.asarray(image)


@pytest.mark.parametrize('interpolation', FILTERS)
def test_a_files_crop_is_pillows_within_rounding(tree, interpolation):
    data = ImageFolder(str(tree), pipeline=[crop(interpolation=interpolation), HFLIP])
    data.set_epoch(EPOCH, SEED)
    draws = list(range(4 * len(data)))
    batch = data.__getitems__(draws)['inputs']
    assert batch.is_contiguous()
    expected = np.stack([by_pillow(data.path(draw % len(data)), draw, 64, interpolation) for draw in draws])
    off = np.abs(batch.permute(0, 2, 3, 1).numpy().astype(int) - expected)
    assert off.max() <= 2
    assert (off > 0).mean() < 0.01


@pytest.mark.filterwarnings('ignore:Anti-alias option is always applied')
@pytest.mark.parametrize('options', [{}, dict(interpolation='nearest'), dict(antialias=False), dict(size=(20, 30))])
def test_interleaved_channels_change_nothing(options):
    step = crop(**options)
    ours = build_pipeline([step])[0]
    theirs = v2.RandomResizedCrop(**{key: ours.__dict__[key] for key in ('size', 'interpolation', 'antialias')})
    pixels = torch.randint(256, (70, 90, 3), dtype=torch.uint8).permute(2, 0, 1)
    for image in (pixels, pixels.contiguous(), v2.functional.to_pil_image(pixels)):
        results = []
        for transform in (ours, theirs):
            torch.manual_seed(1)
            results.append(v2.functional.to_image(transform(image)))
        assert torch.equal(*results)


@pytest.mark.parametrize(
    ('steps', 'count'),
    [
        ([], 0),
        ([crop()], 1),
        ([crop(interpolation='bilinear'), HFLIP, VFLIP, dict(type='RandAugment'), HFLIP], 3),
        ([dict(type='torchvision/RandomResizedCrop', size=64), dict(type='torchvision/ColorJitter'), HFLIP], 1),
        ([HFLIP, crop()], 0),
        ([crop(interpolation='nearest'), HFLIP], 0),
        ([crop(antialias=False)], 0),  # Pillow's images are smoothed all the same
        ([dict(type='torchvision/RandomApply', transforms=[crop()])], 0),
    ],
)
def test_only_a_leading_crop_and_its_flips_leave_pillow(steps, count):
    assert steps_on_pixels(build_pipeline(steps)) == count


def test_what_follows_gets_pillows_image(tree):
    seen = []

    @TRANSFORMS.register_module(name='SeeImage', force=True)
    class SeeImage:
        def __call__(self, image):
            seen.append(image)
            return image

    try:
        crops = ImageFolder(str(tree), pipeline=[crop(), HFLIP])
        watched = ImageFolder(str(tree), pipeline=[crop(), HFLIP, dict(type='SeeImage')])
    finally:
        TRANSFORMS.module_dict.pop('SeeImage')
    expected = crops.__getitems__([0, 1, 2])['inputs']
    assert torch.equal(watched.__getitems__([0, 1, 2])['inputs'], expected)
    assert [type(image) for image in seen] == [Image.Image] * 3
    assert np.array_equal(np.asarray(seen[2]), expected[2].permute(1, 2, 0))
