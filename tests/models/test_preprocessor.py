import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.models.preprocessor import ImagePreprocessor
from openmix.registry import MODELS

MEAN, STD = (0.5, 0.25, 0.1), (0.2, 0.4, 0.5)


def batch(n=4):
    return {
        'inputs': torch.randint(0, 256, (n, 3, 8, 10), dtype=torch.uint8),
        'labels': torch.arange(n),
        'ids': torch.arange(n) + 7,
    }


def test_normalises_pixels_in_0_1():
    data = batch()
    pre = MODELS.build(dict(type='ImagePreprocessor', mean=MEAN, std=STD))
    out = pre(data)
    for c in range(3):
        expected = (data['inputs'][:, c].double() / 255 - MEAN[c]) / STD[c]
        assert torch.allclose(out['inputs'][:, c].double(), expected, atol=1e-6)
    assert out['inputs'].dtype == torch.float32
    assert torch.equal(out['labels'], data['labels'])
    assert torch.equal(out['ids'], data['ids'])
    assert data['inputs'].dtype == torch.uint8  # the loader's batch is left alone


def test_uint8_and_floating_pixels_agree():
    pre, data = ImagePreprocessor(MEAN, STD), batch()
    floating = {'inputs': data['inputs'] / 255}
    assert torch.equal(pre(floating)['inputs'], pre(data)['inputs'])


def test_denormalize_is_the_inverse():
    pre = ImagePreprocessor(MEAN, STD)
    pixels = torch.rand(2, 3, 5, 5)
    assert torch.allclose(pre.denormalize(pre.normalize(pixels)), pixels, atol=1e-6)


def test_augments_uint8_in_training_only():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return x.flip(-1)

    pre, data = ImagePreprocessor(MEAN, STD, augment=[Spy()]), batch()
    assert torch.equal(pre(data, training=True)['inputs'], pre(data)['inputs'].flip(-1))
    assert seen == [torch.uint8]


def test_builds_its_transforms_by_name():
    augment = [dict(type='BatchRandomCrop', padding=2), dict(type='BatchRandomFlip', p=1.0)]
    pre, data = ImagePreprocessor(MEAN, STD, augment=augment), batch()
    torch.manual_seed(0)
    out = pre(data, training=True)['inputs']
    torch.manual_seed(0)
    cropped = pre.augment[0](data['inputs'])
    assert torch.equal(out, pre({'inputs': cropped.flip(-1)})['inputs'])


def test_channels_last():
    data = batch()
    out = ImagePreprocessor(MEAN, STD, channels_last=True)(data)['inputs']
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, ImagePreprocessor(MEAN, STD)(data)['inputs'])


def test_follows_its_parent_to_a_device_and_keeps_out_of_checkpoints():
    parent = nn.ModuleList([ImagePreprocessor(MEAN, STD)])
    assert not parent.state_dict()
    parent.to('meta')
    out = parent[0](batch())
    assert {value.device.type for value in out.values()} == {'meta'}


def test_full_precision_under_autocast():
    pre, data = ImagePreprocessor(MEAN, STD, augment=[dict(type='BatchRandomFlip', p=1.0)]), batch()
    with torch.autocast('cpu', torch.bfloat16):
        out = pre(data, training=True)['inputs']
    assert out.dtype == torch.float32
    assert torch.equal(out, pre(data, training=True)['inputs'])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(mean=(0.5,), std=STD), 'one mean and one std'),
        (dict(mean=MEAN, std=(1, 1, 0)), 'every number of std must be > 0, got 0'),
        (dict(mean=MEAN, std=STD, augment=[dict(type='BatchRandomCorp')]), "did you mean 'BatchRandomCrop'"),
        (dict(mean=MEAN, std=STD, augment=[dict(type='BatchRandomCrop', pad=4)]), "unexpected keyword argument 'pad'"),
    ],
)
def test_wrong_arguments_end_in_one_line(kwargs, message):
    with pytest.raises(InputError, match=message) as error:
        ImagePreprocessor(**kwargs)
    assert '\n' not in str(error.value)
