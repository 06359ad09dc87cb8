import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import RandomResizedCrop

from openmix.data.batch_transforms import (
    BatchRandomCrop,
    BatchRandomFlip,
    BatchRandomResizedCrop,
    draw_boxes,
    resized_crop,
    shift_crop,
)
from openmix.errors import InputError
from openmix.registry import TRANSFORMS

TRANSFORM_SET = [BatchRandomCrop(2), BatchRandomCrop(2, 'zero'), BatchRandomFlip(), BatchRandomResizedCrop()]


def batch(n=9, h=12, w=17, dtype=torch.uint8):
    x = torch.randint(0, 256, (n, 3, h, w), dtype=torch.uint8)
    return x if dtype == torch.uint8 else (x / 255).to(dtype)


@pytest.mark.parametrize('mode', ['reflect', 'zero'])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.bfloat16])
def test_crop_equals_padding_and_cutting_each_image(mode, dtype):
    x, p = batch(dtype=dtype), 4
    torch.manual_seed(0)
    out = BatchRandomCrop(p, mode)(x)
    torch.manual_seed(0)
    top, left = torch.randint(-p, p + 1, (2, len(x)))
    assert out.dtype == dtype
    for i in range(len(x)):
        padded = F.pad(x[i].float(), (p, p, p, p), mode='reflect' if mode == 'reflect' else 'constant')
        t, l_ = int(top[i]) + p, int(left[i]) + p
        assert torch.equal(out[i].float(), padded[:, t : t + 12, l_ : l_ + 17])


def test_crop_reflects_up_to_the_largest_padding():
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    moved = shift_crop(x, torch.tensor([0]), torch.tensor([-3]))
    assert moved[0, 0, 0].tolist() == [3, 2, 1, 0]
    with pytest.raises(InputError, match='padding 4 must be smaller than the image, 4x4'):
        BatchRandomCrop(4)(x)


def test_crop_offsets_are_uniform_and_independent():
    torch.manual_seed(0)
    n, p = 40_500, 4
    place = torch.arange(81.0).view(1, 1, 9, 9).expand(n, 1, 9, 9)
    seen = BatchRandomCrop(p, 'zero')(place)[:, 0, p, p].long()  # the pixel that moved to the centre
    counts = torch.bincount(seen, minlength=81)
    assert (counts - n / 81).abs().max() < 5 * math.sqrt(n / 81)


def test_flip_mirrors_the_drawn_images():
    x = batch(200)
    torch.manual_seed(0)
    out = BatchRandomFlip(0.3)(x)
    torch.manual_seed(0)
    which = torch.rand(200) < 0.3
    for i in range(200):
        assert torch.equal(out[i], x[i].flip(-1) if which[i] else x[i])
    assert torch.equal(BatchRandomFlip(0.0)(x), x)
    assert torch.equal(BatchRandomFlip(1.0)(x), x.flip(-1))


def test_flip_has_the_asked_share():
    torch.manual_seed(0)
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(10_000, 1, 1, 2)
    assert abs(BatchRandomFlip(0.3)(x)[:, 0, 0, 0].mean() - 0.3) < 5 * math.sqrt(0.21 / 10_000)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(40, 44), (8, 6)])
def test_resized_crop_equals_pillow(interpolation, size):
    x = batch(20, 32, 40)
    scale = (0.1, 1.0) if size[0] > 32 else (0.4, 1.0)
    boxes = draw_boxes(20, 32, 40, scale, (3 / 4, 4 / 3))
    out = resized_crop(x, *boxes, size, interpolation)
    assert out.shape == (20, 3, *size)
    for i, (top, left, height, width) in enumerate(torch.stack(boxes, 1).tolist()):
        image = Image.fromarray(x[i].permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
        image = image.resize(size[::-1], Image.Resampling[interpolation.upper()])
        expected = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        assert (out[i].int() - expected.int()).abs().max() <= 1
    as_float = resized_crop(x / 255, *boxes, size, interpolation)
    assert (as_float * 255 - out).abs().max() <= 0.51


def test_whole_image_to_its_own_size_is_the_image():
    x = batch(3, 16, 16)
    whole = [torch.full((3,), v) for v in (0, 0, 16, 16)]
    assert torch.equal(resized_crop(x, *whole, (16, 16)), x)


def test_resized_crop_keeps_its_precision_under_autocast():
    x = batch(4, 32, 32)
    torch.manual_seed(0)
    expected = BatchRandomResizedCrop(24)(x)
    torch.manual_seed(0)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(BatchRandomResizedCrop(24)(x), expected)


def test_boxes_lie_inside_and_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    h, w, n = 48, 64, 20_000
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    ours = torch.stack(draw_boxes(n, h, w, scale, ratio), 1).float()
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= h).all()
    assert (ours[:, 1] + ours[:, 3] <= w).all()
    assert (ours[:, 2:] >= 1).all()
    image = torch.empty(3, h, w)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(4000)]).float()
    error = (ours.var(0) / n + theirs.var(0) / 4000).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 4.5 * error).all()
    assert torch.allclose(ours.std(0), theirs.std(0), rtol=0.06)


@pytest.mark.parametrize(('h', 'w', 'expected'), [(10, 40, [0, 13, 10, 13]), (40, 10, [13, 0, 13, 10])])
def test_box_that_never_fits_is_the_largest_centred_one(h, w, expected):
    boxes = torch.stack(draw_boxes(5, h, w, (1.0, 1.0), (3 / 4, 4 / 3)), 1)
    assert boxes.tolist() == [expected] * 5


@pytest.mark.parametrize('transform', TRANSFORM_SET, ids=repr)
def test_contract(transform):
    for x in (batch(1), batch(5), batch(5, dtype=torch.bfloat16)):
        before = x.clone()
        torch.manual_seed(1)
        out = transform(x)
        torch.manual_seed(1)
        assert torch.equal(transform(x), out)
        assert out.shape == x.shape
        assert out.dtype == x.dtype
        assert torch.equal(x, before)
    # Runs without values, so nothing waits for them.
    assert transform(torch.empty(4, 3, 8, 8, device='meta')).shape == (4, 3, 8, 8)


def test_wrong_arguments_end_in_one_line():
    cases = [
        (dict(type='BatchRandomCrop', mode='reflct'), "did you mean 'reflect'"),
        (dict(type='BatchRandomCrop', padding=-1), 'padding must be >= 0'),
        (dict(type='BatchRandomFlip', p=2), r'p must be in \[0, 1\]'),
        (dict(type='BatchRandomResizedCrop', interpolation='cubic'), "did you mean 'bicubic'"),
        (dict(type='BatchRandomResizedCrop', scale=(1.0, 0.1)), 'lowest first'),
    ]
    for cfg, message in cases:
        with pytest.raises(InputError, match=message):
            TRANSFORMS.build(cfg)
