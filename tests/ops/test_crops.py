"""Ten crops are those that Pillow cuts out of the image and of the flipped image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from openmix.errors import InputError
from openmix.ops.crops import CENTRE, ten_crops


def by_pillow(image, height, width):
    """Crop at the released code's offsets in floating point, which Pillow rounds."""
    below, beside = image.height - height - 1, image.width - width - 1
    starts = [(0, 0), (beside, 0), (0, below), (beside, below), (beside / 2, below / 2)]
    for one in (image, ImageOps.mirror(image)):
        for left, top in starts:
            yield torch.from_numpy(np.array(one.crop((left, top, left + width, top + height)))).permute(2, 0, 1)


@pytest.mark.parametrize(('full', 'size'), [(16, (12, 12)), (18, (12, 12)), (17, (12, 10)), (256, (224, 224))])
def test_ten_crops_are_pillows(full, size):
    """Margins that are even and odd, and halves that Pillow rounds up and down."""
    pixels = np.random.default_rng(0).integers(0, 256, (full, full, 3), np.uint8)
    found = [crop[0] for crop in ten_crops(torch.from_numpy(pixels).permute(2, 0, 1)[None], size)]
    wanted = list(by_pillow(Image.fromarray(pixels), *size))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert len({crop.numpy().tobytes() for crop in found}) == 10


def test_the_published_offsets():
    """15.5 is rounded to 16, and no crop of 256 pixels begins at 32."""
    row = torch.arange(256.0).expand(1, 1, 256, 256)
    crops = [crop[0, 0, 0, 0].item() for crop in ten_crops(row, (224, 224))]
    assert crops == [0, 31, 0, 31, 16, 255, 224, 255, 224, 239]
    assert crops[CENTRE] == 16


@pytest.mark.parametrize('size', [(8, 8), (9, 4), (4, 8)])
def test_images_that_are_no_larger_are_refused(size):
    with pytest.raises(InputError, match='images of 8x8 have no ten crops'):
        next(ten_crops(torch.zeros(1, 3, 8, 8), size))
