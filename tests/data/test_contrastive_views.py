"""MoCo v2's augmentations of whole batches beside those of single images."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from openmix.data.batch_views import BatchMultiView
from openmix.data.color_jitter import BatchColorJitter, BatchRandomGrayscale, shift_hue
from openmix.data.gaussian_blur import BatchGaussianBlur, PillowGaussianBlur, gaussian_blur
from openmix.errors import InputError


def images(n=6, side=16):
    x = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    x[0] = 0.3  # grey has no hue
    x[1, :, 0] = torch.tensor([0.5, 0.5, 0.2]).view(3, 1)  # two channels are the highest
    return x


@pytest.mark.parametrize('turn', [-0.5, -0.1, 0.0, 0.3, 0.5])
def test_hue_is_torchvisions(turn):
    x = images()
    found = shift_hue(x, torch.full((len(x),), turn), 1.0)
    torch.testing.assert_close(found, F.adjust_hue(x, turn), rtol=0, atol=2e-6)
    torch.testing.assert_close(shift_hue(255 * x, torch.full((len(x),), turn), 255.0), 255 * found, rtol=0, atol=1e-3)


def test_blur_is_a_gaussian_with_the_border_repeated():
    x, sigma = images(2), torch.tensor([0.4, 2.0])
    for image, width, found in zip(x, sigma.tolist(), gaussian_blur(x, sigma)):
        padded = F.pad(image, [12], padding_mode='edge')
        wanted = F.gaussian_blur(padded, [21, 21], [width, width])[:, 12:-12, 12:-12]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_blur_is_near_pillows():
    pixels = (255 * images(2)).byte()[1]
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    theirs = v2.functional.pil_to_tensor(PillowGaussianBlur((1.0, 1.0))(image)).float()
    ours = gaussian_blur(pixels[None].float(), torch.tensor([1.0]))[0]
    assert (ours - theirs).abs().mean() < 2
    assert (ours - pixels).abs().mean() > 10


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    'transform', [BatchColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), BatchRandomGrayscale(0.2), BatchGaussianBlur(p=0.5)]
)
def test_each_image_is_changed_with_its_probability(transform, dtype):
    torch.manual_seed(0)
    x = images(2, 6)[1:].expand(4000, -1, -1, -1)
    x = (255 * x).byte() if dtype == torch.uint8 else x
    out = transform(x)
    assert (out.dtype, out.shape) == (x.dtype, x.shape)
    # A blur of a tenth of a pixel changes nothing in 8 bits.
    changed = (out != x).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(transform.p, abs=0.03 if not isinstance(transform, BatchGaussianBlur) else 0.1)


def test_grey_is_torchvisions():
    x = images()
    torch.testing.assert_close(BatchRandomGrayscale(1.0)(x), F.rgb_to_grayscale(x, 3), rtol=0, atol=1e-6)


def test_both_views_are_of_the_image_with_draws_of_their_own():
    x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 8, 8) / 5 + 0.05 * torch.rand(5, 3, 8, 8)
    views = BatchMultiView([dict(type='BatchRandomResizedCrop', size=6)])(x)
    assert views.shape == (5, 2, 3, 6, 6)
    assert (views.mean((2, 3, 4)) * 5).floor().long().tolist() == [[i, i] for i in range(5)]
    assert not torch.equal(views[:, 0], views[:, 1])


def test_what_is_refused():
    with pytest.raises(InputError, match='hue'):
        BatchColorJitter(hue=0.6)
    with pytest.raises(InputError, match='at least one transform'):
        BatchMultiView([])
    with pytest.raises(InputError, match='takes images'):
        BatchMultiView([BatchRandomGrayscale()])(torch.rand(2, 2, 3, 4, 4))
