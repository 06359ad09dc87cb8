"""Compare ten-crop evaluation with slow loops, and test its requirements on the data."""

import math

import pytest
import torch
from torch import nn

from openmix.data.pipeline import build_pipeline
from openmix.errors import InputError
from openmix.evaluation.ten_crop import TenCrop, before_crop
from openmix.models.preprocessor import ImagePreprocessor

RESIZE = dict(type='torchvision/Resize', size=32)


class TwoNetworks(nn.Module):
    """A classifier that distinguishes positions and mirror images, with a second network."""

    def __init__(self, size, scale=0.1):
        super().__init__()
        self.data_preprocessor = ImagePreprocessor((0.5,) * 3, (0.25,) * 3)
        self.weights = nn.Parameter(torch.randn(2, 3 * size[0] * size[1], 5) * scale)

    def forward(self, inputs, labels=None, ids=None, mode='tensor'):
        assert mode == 'predict'
        a, b = inputs.flatten(1) @ self.weights
        return [dict(logits=a, others={'online': b}, labels=labels, ids=ids)]


def slow_crops(image, height, width):
    """Crop the corners and the centre of an image (3, H, W), then mirror these crops column by column."""
    full_h, full_w = image.shape[1:]
    below, beside = full_h - height, full_w - width
    starts = [(0, 0), (0, beside), (below, 0), (below, beside), (round(below / 2), round(beside / 2))]
    crops = [image[:, y : y + height, x : x + width] for y, x in starts]
    return crops + [torch.stack([crop[:, :, width - 1 - x] for x in range(width)], -1) for crop in crops]


@pytest.mark.parametrize(('full', 'size'), [((8, 8), (6, 6)), ((9, 9), (6, 4))])
def test_mean_probabilities_are_those_of_a_slow_loop(full, size):
    torch.manual_seed(0)
    model = TwoNetworks(size)
    pixels, labels, ids = torch.randint(0, 256, (3, 3, *full), dtype=torch.uint8), torch.arange(3), torch.arange(3) + 7
    with torch.no_grad():
        (found,) = TenCrop(model, size).test_step(dict(inputs=pixels, labels=labels, ids=ids))
        means = torch.zeros(2, 3, 5, dtype=torch.float64)
        for n, image in enumerate(pixels):
            for crop in slow_crops((image.double() / 255 - 0.5) / 0.25, *size):
                for k in range(2):
                    means[k, n] += (crop.flatten() @ model.weights[k].double()).softmax(0) / 10
    torch.testing.assert_close(found['logits'].exp().double(), means[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found['others']['online'].exp().double(), means[1], rtol=1e-4, atol=1e-6)
    assert torch.equal(found['labels'], labels)
    assert torch.equal(found['ids'], ids)
    # The ten differ, or the test would not see which are taken.
    assert len({tuple(crop.flatten().tolist()) for crop in slow_crops(pixels[0], *size)}) == 10


def test_a_probability_that_underflows_stays_finite():
    torch.manual_seed(0)
    found = TenCrop(TwoNetworks((4, 4), scale=1e3), (4, 4))(torch.randn(2, 3, 6, 6))
    assert found.isfinite().all()
    assert found.amin() < math.log(1e-45)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ('steps', 'size', 'side'),
    [
        ([RESIZE], 28, 32),
        ([dict(RESIZE, interpolation='bicubic')], (28, 20), 32),
        ([dict(type='torchvision/Resize', size=(40, 36))], [24], 36),
    ],
)
def test_the_square_around_the_crop_is_served(steps, size, side):
    crop = dict(type='torchvision/CenterCrop', size=size)
    dataset, found = before_crop(dict(type='ImageFolder', root='x', pipeline=[*steps, crop]))
    assert found == tuple(build_pipeline([crop])[0].size)
    assert dataset['pipeline'] == [*steps, dict(type='torchvision/CenterCrop', size=side)]
    assert dataset['root'] == 'x'


@pytest.mark.parametrize(
    ('dataset', 'line'),
    [
        (dict(type='CIFAR10'), 'CIFAR10 serves them whole'),
        (dict(pipeline=[RESIZE]), 'serves them whole'),
        (
            dict(pipeline=[RESIZE, dict(type='torchvision/CenterCrop', size=32)]),
            '32x32 do not differ on images of 32x32',
        ),
        (dict(pipeline=[RESIZE, dict(type='torchvision/CenterCrop', size=40)]), '40x40 do not differ'),
        (dict(pipeline=[dict(type='torchvision/CenterCrop', size=28)]), 'shorter side that all images share'),
    ],
)
def test_without_a_margin_it_is_one_line(dataset, line):
    with pytest.raises(InputError, match=line) as error:
        before_crop(dataset)
    assert '\n' not in str(error.value)
