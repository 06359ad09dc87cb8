import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import PatchUp
from openmix.mixups.patch_up import draw_blocks
from openmix.ops.beta import draw_lam


def in_a_block(drawn, row, column, chance, side):
    """Say whether a position lies in the square around one of the drawn centres."""
    height, width = drawn.shape
    reach = side // 2
    return any(
        drawn[r, c].item() < chance
        for r in range(max(row - reach, 0), min(row + reach + 1, height))
        for c in range(max(column - reach, 0), min(column + reach + 1, width))
    )


@pytest.mark.parametrize('mode', ['soft', 'hard'])
@pytest.mark.parametrize('share', ['sample', 'batch'])
@pytest.mark.parametrize('channels', ['own', 'shared'])
@pytest.mark.parametrize(('height', 'width', 'block'), [(8, 8, 3), (6, 9, 5), (4, 7, 7)])
def test_equals_the_features_one_by_one(mode, share, channels, height, width, block):
    n, c = 4, 2
    z = torch.rand(n, c, height, width)
    torch.manual_seed(0)
    mixed, mix = PatchUp(mode=mode, share=share, channels=channels, block=block)(z)
    torch.manual_seed(0)
    partner = torch.randperm(n)
    k, of = 1 if share == 'batch' else n, c if channels == 'own' else 1
    drawn = torch.rand(k, of, height, width)
    lam = draw_lam(k, 2.0).tolist() if mode == 'soft' else [0.0] * k
    side = min(block, height, width)
    side -= 1 - side % 2
    gamma = {'soft': 0.75, 'hard': 0.5}[mode]
    chance = gamma * height * width / (side**2 * (height - side + 1) * (width - side + 1))
    for i in range(n):
        j, kept = min(i, k - 1), 0.0
        for channel in range(c):
            for row in range(height):
                for column in range(width):
                    inside = in_a_block(drawn[j, min(channel, of - 1)], row, column, chance, side)
                    own = lam[j] if inside else 1.0
                    at = (channel, row, column)
                    wanted = own * z[i].double()[at] + (1 - own) * z[partner[i]].double()[at]
                    assert mixed[i][at].item() == pytest.approx(wanted.item(), abs=1e-6)
                    kept += own
        assert mix.lam[i].item() == pytest.approx(kept / z[0].numel(), abs=1e-5)


def test_as_many_features_lie_in_blocks_as_the_centres_chance_says():
    torch.manual_seed(0)
    inside = draw_blocks((400, 1, 32, 32), 0.3, 5)
    chance = 0.3 * 32**2 / (25 * 28**2)
    in_the_middle = inside[:, :, 4:-4, 4:-4].mean().item()
    assert in_the_middle == pytest.approx(1 - (1 - chance) ** 25, abs=0.01)
    assert 0.2 < inside.mean() < 0.35


def test_channels_have_blocks_of_their_own_unless_shared():
    z = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 4, 16, 16).contiguous()
    for channels in ('own', 'shared'):
        torch.manual_seed(0)
        mixed, mix = PatchUp(channels=channels, mode='hard', self_pairs=False)(z)
        assert bool((mixed == mixed[:, :1]).all()) == (channels == 'shared')
        torch.testing.assert_close(mix.mask, (mixed == z).float().mean(1, keepdim=True))


def test_gradients_reach_both_images_of_a_hidden_site():
    z = torch.rand(4, 3, 8, 8, requires_grad=True)
    mixed, mix = PatchUp(sites=('layer1',), mode='hard')(z, pairs=torch.tensor([1, 1, 1, 1]))
    mixed.sum().backward()
    taken = (1 - mix.mask).sum((1, 2, 3)) * 3
    torch.testing.assert_close(z.grad.sum((1, 2, 3))[0], 192 - taken[0])
    assert math.isclose(z.grad[1].sum().item(), 192 + (taken.sum() - taken[1]).item(), rel_tol=1e-5)


def test_bad_input_is_an_input_error():
    with pytest.raises(InputError, match='PatchUp: block must be odd'):
        PatchUp(block=4)
    with pytest.raises(InputError, match=r"PatchUp\(mode='hard'\) draws blocks, and no lam"):
        PatchUp(mode='hard').holding(0.5)
    assert PatchUp().holding(0.5).held_lam == 0.5
    with pytest.raises(InputError, match='PatchUp needs an'):
        PatchUp()(torch.rand(4, 10))
