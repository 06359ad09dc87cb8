"""Compare TokenMix's blocks with their rules, and its label shares with a slow loop."""

import pytest
import timm
import torch

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.attention import attention_at
from openmix.ops.block_masks import draw_block_masks
from openmix.registry import MIXUPS


def backbone(seed=0):
    torch.manual_seed(seed)
    return timm.create_model(
        'vit_tiny_patch16_224', img_size=32, patch_size=4, depth=2, embed_dim=24, num_heads=3, num_classes=0
    ).eval()


def test_blocks_cover_the_count_and_no_more():
    torch.manual_seed(0)
    counts = torch.arange(1000) % 113
    masks = draw_block_masks(counts, 14, 14)
    covered = masks.sum((1, 2))
    assert bool((covered <= counts).all())
    assert float((covered == counts).float().mean()) > 0.95
    # Cells of blocks lie together: random cells of this share have 0.57 of their neighbours among them.
    large = masks[counts == 112]
    pairs = (large[:, 1:] & large[:, :-1]).sum() / large[:, 1:].sum()
    assert float(pairs) > 0.7
    assert bool((masks[counts > 50].float().mean(0) > 0.04).all())


@pytest.mark.parametrize('with_teacher', [False, True])
@pytest.mark.parametrize('share', ['sample', 'batch'])
def test_the_label_is_what_each_image_shows_of_its_activation(share, with_teacher):
    z, net, teacher = torch.rand(6, 3, 32, 32), Network(backbone(), torch.nn.Linear(24, 5)), backbone(1)
    policy = MIXUPS.build(dict(type='TokenMix', share=share, teacher=teacher if with_teacher else None))
    mixed, mix = policy(z, MixContext(z, network=net))
    attention = attention_at(teacher if with_teacher else net.backbone, 'blocks.1.attn', z).double()
    for n in range(6):
        partner, shares = int(mix.partner[n]), []
        for image, shows in ((n, 1.0), (partner, 0.0)):
            taken = [sum(float(attention[image, h, 0, 1 + k]) for h in range(3)) for k in range(64)]
            seen = [one for k, one in enumerate(taken) if float(mix.mask[n, 0, k // 8 * 4, k % 8 * 4]) == shows]
            shares.append(sum(seen) / sum(taken))
        assert mix.weight[n].tolist() == pytest.approx(shares, abs=1e-5)
        for i in range(32):
            for j in range(32):
                kept = float(mix.mask[n, 0, i // 4 * 4, j // 4 * 4])
                assert torch.equal(mixed[n, :, i, j], z[n if kept else partner, :, i, j])


def test_the_ratio_and_the_least_number_set_the_partners_patches():
    z = torch.rand(64, 3, 32, 32)
    context = MixContext(z, network=Network(backbone(), torch.nn.Linear(24, 5)))
    for least, wanted in ((0.0, 32), (1 / 14, 37)):
        _, mix = MIXUPS.build(dict(type='TokenMix', ratio=0.5, least=least))(z, context)
        patches = (1 - mix.mask).sum((1, 2, 3)) / 16
        assert float(patches.median()) == wanted == float(patches.max())


def test_a_wrong_teacher_is_one_line():
    with pytest.raises(InputError, match='teacher must be'):
        MIXUPS.build(dict(type='TokenMix', teacher='deit'))
