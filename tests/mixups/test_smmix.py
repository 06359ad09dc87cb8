"""Compare SMMix with a search over all windows."""

import pytest
import timm
import torch

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.attention import attention_at
from openmix.registry import MIXUPS


def network(**options):
    torch.manual_seed(0)
    given = dict(img_size=32, patch_size=4, depth=2, embed_dim=24, num_heads=3, num_classes=0)
    backbone = timm.create_model('vit_tiny_patch16_224', **{**given, **options})
    return Network(backbone.eval(), torch.nn.Linear(24, 5))


def slow_place(taken, side, largest):
    sums = {
        (i, j): sum(float(taken[i + a, j + b]) for a in range(side) for b in range(side))
        for i in range(9 - side)
        for j in range(9 - side)
    }
    return (max if largest else min)(sums, key=sums.get)


@pytest.mark.parametrize('share', ['sample', 'batch'])
def test_the_region_of_most_attention_covers_that_of_least(share):
    z, net = torch.rand(8, 3, 32, 32), network()
    torch.manual_seed(1)
    mixed, mix = MIXUPS.build(dict(type='SMMix', share=share))(z, MixContext(z, network=net))
    taken = attention_at(net.backbone, 'blocks.1.attn', z).double()[:, :, 1:, 1:].mean((1, 2)).view(8, 8, 8)
    sides = [round(float((1 - mix.mask[n]).sum()) ** 0.5) // 4 for n in range(8)]
    assert all(2 <= side <= 6 for side in sides)
    assert (len(set(sides)) == 1) == (share == 'batch')
    for n, side in enumerate(sides):
        partner = int(mix.partner[n])
        top, left = slow_place(taken[partner], side, True)
        down, across = slow_place(taken[n], side, False)
        wanted = z[n].clone()
        wanted[:, 4 * down : 4 * (down + side), 4 * across : 4 * (across + side)] = z[
            partner, :, 4 * top : 4 * (top + side), 4 * left : 4 * (left + side)
        ]
        assert torch.equal(mixed[n], wanted)
        assert float(mix.lam[n]) == pytest.approx(1 - side * side / 64)


def test_every_side_between_the_bounds_is_drawn():
    policy = MIXUPS.build(dict(type='SMMix', sides=(0.25, 0.5)))
    sizes = policy.draw_sizes(2000, 14, 14, torch.device('cpu'))
    assert set(sizes[:, 0].tolist()) == {3, 4, 5, 6, 7}
    assert torch.equal(sizes[:, 0], sizes[:, 1])


def test_patches_that_do_not_divide_the_image_are_refused():
    z, net = torch.rand(2, 3, 34, 34), network(dynamic_img_size=True)
    net.backbone.patch_embed.strict_img_size = False
    net.backbone.patch_embed.dynamic_img_pad = True
    with pytest.raises(InputError, match='do not divide images of 34 x 34'):
        MIXUPS.build(dict(type='SMMix'))(z, MixContext(z, network=net))
