import random

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from openmix.data.image_folder import ImageFolder
from openmix.data.rand_augment import RandAugment
from openmix.errors import InputError


def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))


def seeded(transform, seed):
    random.seed(seed)
    np.random.seed(seed)
    return np.asarray(transform(image()))


@pytest.mark.parametrize(('magnitude', 'name'), [(9, 'rand-m9-mstd0.5-inc1'), (6, 'rand-m6-mstd0.5-inc1')])
def test_is_the_transform_that_timms_train_script_builds(magnitude, name):
    whole = create_transform(224, is_training=True, auto_augment=name, interpolation='bicubic')
    (timms,) = [step for step in whole.transforms if type(step).__name__ == 'RandAugment']
    ours = RandAugment(magnitude=magnitude, std=0.5)
    outputs = [seeded(ours, seed) for seed in range(12)]
    for seed, output in enumerate(outputs):
        assert np.array_equal(output, seeded(timms, seed))
    assert len({output.tobytes() for output in outputs}) > 6


def test_the_strongest_magnitude_keeps_something_of_every_image():
    strongest = RandAugment(magnitude=10, std=0.5, p=1.0)
    names = {operation.name for operation in strongest.transform.ops}
    for seed in range(120):
        assert seeded(strongest, seed).shape == (224, 224, 3)
    (posterize,) = [operation for operation in strongest.transform.ops if operation.name == 'PosterizeIncreasing']
    assert len(np.unique(np.asarray(posterize(image())))) == 2
    assert len(names) == 15


def test_runs_in_a_pipeline_by_name(folder_tree):
    steps = [
        dict(type='torchvision/Resize', size=(32, 32)),
        dict(type='RandAugment', size=32, interpolation='bilinear'),
    ]
    data = ImageFolder(str(folder_tree), pipeline=steps)
    batch = data.__getitems__([0, 1])['inputs']
    assert batch.shape == (2, 3, 32, 32)
    assert np.array_equal(data.__getitems__([1])['inputs'][0], batch[1])  # draws are the sample's own


@pytest.mark.parametrize(
    'options', [dict(magnitude=11), dict(magnitude=2.5), dict(std=-1.0), dict(layers=0), dict(p=2)]
)
def test_bad_input(options):
    with pytest.raises(InputError, match=f'RandAugment: {next(iter(options))} must be'):
        RandAugment(**options)
