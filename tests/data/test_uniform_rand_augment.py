"""The strong views of semi-supervised learning, held against Pillow's functions image by image."""

import pytest
import torch
from device_waits import DEVICE, no_waits
from PIL import Image, ImageDraw
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from openmix.data import uniform_rand_augment as module
from openmix.data.pipeline import build_pipeline, run_views
from openmix.data.random_size_cutout import BatchRandomSizeCutout, RandomSizeCutout, box
from openmix.data.uniform_rand_augment import (
    GEOMETRIC,
    OPERATIONS,
    BatchUniformRandAugment,
    UniformRandAugment,
    apply_in_order,
    magnitude,
)
from openmix.errors import InputError
from openmix.registry import TRANSFORMS

FLAT, DARK, TWO_LEVELS = 0, 1, 2


@pytest.fixture(scope='module')
def images():
    """Noise of full and of low contrast, with images of one level, of two, and with a flat channel."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (120, 3, 20, 17), generator=generator)
    x[60:] = x[60:] * torch.rand(60, 3, 1, 1, generator=generator).pow(2) + 20
    x = x.clamp(0, 255).to(torch.uint8)
    x[FLAT], x[DARK, 1] = 7, 0
    x[TWO_LEVELS] = (x[TWO_LEVELS] > 100) * 200
    return x


@pytest.mark.parametrize('name', OPERATIONS)
def test_an_operation_of_a_batch_is_pillows(name, images):
    operation = OPERATIONS[name]
    u = torch.rand(len(images), generator=torch.Generator().manual_seed(1))
    u[:2] = torch.tensor([0.0, 1 - 2**-24])
    counts = [len(images) if other == name else 0 for other in OPERATIONS]
    found = apply_in_order(images, counts, u)
    for image, out, number in zip(images, found, u.tolist(), strict=True):
        strength = operation.low + (operation.high - operation.low) * number
        assert torch.equal(out, pil_to_tensor(operation.image(to_pil_image(image), strength))), (name, strength)
    assert (found != images).any() == (name != 'identity')


def test_the_operations_and_their_bounds_are_those_of_published_runs():
    bounds = {name: (operation.low, operation.high) for name, operation in OPERATIONS.items()}
    factor, share = (0.05, 0.95), (-0.3, 0.3)
    assert bounds == {
        **dict.fromkeys(('autocontrast', 'equalize', 'identity'), (0, 1)),
        **dict.fromkeys(('brightness', 'color', 'contrast', 'sharpness'), factor),
        **dict.fromkeys(('shear_x', 'shear_y', 'translate_x', 'translate_y'), share),
        'rotate': (-30, 30),
        'posterize': (4, 8),
        'solarize': (0, 256),
    }
    assert {*GEOMETRIC} == {'rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'}
    bits = magnitude(OPERATIONS['posterize'], torch.tensor([0.0, 0.25, 1 - 2**-24])).long()
    assert bits.tolist() == [4, 5, 7]


def test_a_batch_is_what_its_draws_make_of_each_image(images):
    torch.manual_seed(3)
    found = BatchUniformRandAugment(layers=2)(images)
    torch.manual_seed(3)
    expected, where = [to_pil_image(image) for image in images], list(range(len(images)))
    for _ in range(2):
        order = torch.randperm(len(images)).tolist()
        drawn = sorted(torch.randint(14, (len(images),)).tolist())
        u = torch.rand(len(images)).tolist()
        where = [where[i] for i in order]
        for image, number, one in zip(where, drawn, u, strict=True):
            operation = list(OPERATIONS.values())[number]
            strength = operation.low + (operation.high - operation.low) * one
            expected[image] = operation.image(expected[image], strength)
    assert torch.equal(found, torch.stack([pil_to_tensor(image) for image in expected]))


def test_every_image_draws_each_operation_as_often_whatever_the_others_draw(monkeypatch):
    """Pairs of operations, of one image in two layers and of neighbours in one, are all equally frequent."""

    def noted(x, counts, u):
        return 14 * x + torch.arange(14).repeat_interleave(torch.tensor(counts)).view(-1, 1, 1, 1).to(torch.uint8)

    monkeypatch.setattr(module, 'apply_in_order', noted)
    torch.manual_seed(0)
    n = 40_000
    pairs = BatchUniformRandAugment(layers=2)(torch.zeros(n, 3, 1, 1, dtype=torch.uint8))[:, 0, 0, 0].long()
    neighbours = 14 * (pairs[::2] // 14) + pairs[1::2] // 14
    for drawn in (pairs, neighbours):
        expected = len(drawn) / 196
        chi2 = ((drawn.bincount(minlength=196) - expected) ** 2 / expected).sum()
        assert abs(chi2 - 195) < 5 * (2 * 195) ** 0.5


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_floating_images_are_treated_as_their_levels(dtype, images):
    torch.manual_seed(0)
    levels = BatchUniformRandAugment()(images)
    torch.manual_seed(0)
    found = BatchUniformRandAugment()((images / 255).to(dtype))
    assert found.dtype == dtype
    assert torch.equal(found, (levels / 255).to(dtype))


@pytest.mark.parametrize('kind', [BatchUniformRandAugment, BatchRandomSizeCutout])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_nothing_waits_for_the_device(kind, dtype):
    x, transform = torch.empty(9, 3, 8, 8, dtype=dtype, device=DEVICE), kind().to(DEVICE)
    with no_waits():
        assert transform(x).shape == x.shape


@pytest.mark.parametrize('kind', [BatchUniformRandAugment, BatchRandomSizeCutout])
@pytest.mark.parametrize('shape', [(9, 1, 8, 8), (9, 4, 8, 8), (3, 8, 8)])
def test_images_without_three_channels_are_refused_in_a_line(kind, shape):
    with pytest.raises(InputError, match=rf'^{kind.__name__}: images must be \(N, 3, H, W\), got a ') as error:
        kind()(torch.zeros(shape))
    assert '\n' not in str(error.value)


def cut_as_published(image, u):
    """TorchSSL's Cutout, from uniform numbers in [0, 1): of the side, and of the column and row of the centre."""
    side = 0.5 * u[0] * image.width
    left = int(max(0, image.width + (1 - image.width) * u[1] - side / 2))
    top = int(max(0, image.height + (1 - image.height) * u[2] - side / 2))
    right, bottom = min(image.width, left + side), min(image.height, top + side)
    image = image.copy()
    if side > 0:
        ImageDraw.Draw(image).rectangle((left, top, right, bottom), (125, 123, 114))
    return image


def test_cutout_is_that_of_published_runs(images):
    torch.manual_seed(0)
    found = BatchRandomSizeCutout()(images)
    torch.manual_seed(0)
    draws = torch.rand(len(images), 3).double().tolist()
    expected = [pil_to_tensor(cut_as_published(to_pil_image(image), u)) for image, u in zip(images, draws, strict=True)]
    assert torch.equal(found, torch.stack(expected))
    assert torch.equal(BatchRandomSizeCutout(fill=(0, 0, 255))(images / 255).unique(), (images / 255).unique())


def test_cutout_of_one_image_is_that_of_a_batch(images):
    for seed, image in enumerate(images[:40]):
        torch.manual_seed(seed)
        one = pil_to_tensor(RandomSizeCutout()(to_pil_image(image)))
        torch.manual_seed(seed)
        assert torch.equal(one, BatchRandomSizeCutout()(image[None])[0])


def test_the_box_at_the_ends_of_its_draws():
    low, high = box(torch.tensor([[0.0, 0.3, 0.3], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]]), 0.5, 32, 32)
    assert (low[0] == high[0]).all()  # nothing is cut
    # The centre is at (row, column) (1, 32) and (16.5, 1); sides 16 and 8, and the last pixel is included.
    assert torch.stack([low[1], high[1]]).tolist() == [[0, 24], [17, 33]]
    assert torch.stack([low[2], high[2]]).tolist() == [[12, 0], [21, 9]]


def test_a_pipeline_of_files_makes_both_views(images):
    weak = [
        dict(type='torchvision/RandomHorizontalFlip'),
        dict(type='torchvision/RandomCrop', size=[20, 17], padding=4, padding_mode='reflect'),
    ]
    strong = [dict(type='UniformRandAugment'), dict(type='RandomSizeCutout'), *weak]
    steps = build_pipeline([dict(type='MultiView', views=[weak, strong])])
    torch.manual_seed(0)
    views = run_views(steps, to_pil_image(images[5]))
    assert views.shape == (2, 3, 20, 17)
    assert (views[0] != views[1]).any()


def test_one_image_draws_with_replacement_and_always_applies(monkeypatch):
    seen = []

    def noted(name, operation):
        return operation._replace(image=lambda image, strength: seen.append((name, strength)) or image)

    monkeypatch.setattr(module, 'OPERATIONS', {name: noted(name, one) for name, one in OPERATIONS.items()})
    torch.manual_seed(0)
    for _ in range(1400):
        UniformRandAugment()(Image.new('RGB', (4, 4)))
    assert len(seen) == 3 * 1400
    for name, operation in OPERATIONS.items():
        strengths = torch.tensor([strength for other, strength in seen if other == name])
        assert 220 < len(strengths) < 380
        shares = (strengths - operation.low) / (operation.high - operation.low)
        assert 0 <= shares.min() < 0.05
        assert 0.95 < shares.max() < 1
        assert 0.4 < shares.mean() < 0.6


@pytest.mark.parametrize(
    'step',
    [
        dict(type='UniformRandAugment', layers=0),
        dict(type='BatchUniformRandAugment', layers=2.5),
        dict(type='RandomSizeCutout', largest=0.0),
        dict(type='BatchRandomSizeCutout', largest=1.5),
        dict(type='BatchRandomSizeCutout', fill=(0, 0, 300)),
        dict(type='RandomSizeCutout', fill=0.5),
    ],
    ids=str,
)
def test_what_does_not_do_is_one_line(step):
    with pytest.raises(InputError, match=f'^{step["type"]}: (layers|largest|fill) '):
        TRANSFORMS.build(step)
