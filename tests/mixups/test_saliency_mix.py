import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import MixContext, SaliencyMix
from openmix.ops.beta import draw_lam
from openmix.ops.saliency import byte_misread_saliency, fine_grained_saliency

MEAN, STD = torch.tensor([0.5, 0.45, 0.4]), torch.tensor([0.25, 0.2, 0.3])


def images(n, height, width):
    """Return images as bytes, as pixels in [0, 1], and normalised."""
    as_bytes = torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)
    pixels = as_bytes / 255
    return as_bytes, pixels, (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize('detector_input', ['uint8', 'float'])
@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 20), (20, 12), (1, 9), (9, 1), (1, 1)])
def test_equals_the_algorithm_pair_by_pair(share, detector_input, height, width):
    n = 12
    torch.manual_seed(1)
    as_bytes, _, z = images(n, height, width)
    torch.manual_seed(0)
    policy = SaliencyMix(alpha=1, share=share, detector_input=detector_input)
    mixed, mix = policy(z, MixContext(z, mean=MEAN, std=STD))
    torch.manual_seed(0)
    partner = torch.randperm(n)
    lam = draw_lam(1 if share == 'batch' else n, 1.0).expand(n)
    for i in range(n):
        seen = partner[0 if share == 'batch' else i]
        if detector_input == 'uint8':
            saliency = fine_grained_saliency(as_bytes[seen][None])
        else:
            saliency = byte_misread_saliency(z[seen][None])
        row, column = divmod(int(saliency.argmax()), width)
        ratio = math.sqrt(1 - lam[i].item())
        half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
        rows = slice(max(row - half_height, 0), min(row + half_height, height))
        columns = slice(max(column - half_width, 0), min(column + half_width, width))
        wanted, keep = z[i].clone(), torch.ones(height, width)
        wanted[:, rows, columns] = z[partner[i]][:, rows, columns]
        keep[rows, columns] = 0
        assert torch.equal(mixed[i], wanted)
        assert mix.lam[i].item() == pytest.approx(keep.mean().item(), abs=1e-6)


def test_partners_from_a_longer_pool():
    torch.manual_seed(0)
    _, pixels, _ = images(9, 16, 16)
    pairs = torch.tensor([8, 4, 6])
    mixed, mix = SaliencyMix()(pixels, MixContext(pixels), pairs)
    assert torch.equal(mixed, torch.where(mix.mask.bool(), pixels[:3], pixels[pairs]))


def test_the_drawn_share_can_be_kept_as_label():
    torch.manual_seed(0)
    _, pixels, _ = images(50, 16, 16)
    torch.manual_seed(0)
    _, mix = SaliencyMix(correct_lam=False)(pixels, MixContext(pixels))
    torch.manual_seed(0)
    torch.randperm(50)
    assert torch.equal(mix.lam, draw_lam(50, 1.0))


def test_bad_input_is_an_input_error():
    z = torch.rand(4, 3, 8, 8)
    with pytest.raises(InputError, match='needs a context'):
        SaliencyMix()(z)
    with pytest.raises(InputError, match='the context holds'):
        SaliencyMix()(z, MixContext(torch.rand(2, 3, 8, 8)))
    with pytest.raises(InputError, match='SaliencyMix needs an'):
        SaliencyMix()(z.flatten(1), MixContext(z))
    with pytest.raises(InputError, match="detector_input must be 'uint8' or 'float'"):
        SaliencyMix(detector_input='bytes')
