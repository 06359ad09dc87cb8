"""Compare what is taken from each patch with slow loops over an attention map."""

import pytest
import timm
import torch
from torchvision.models import VisionTransformer

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.attention import last_attention
from openmix.mixups.patch_attention import on_grid, patches_taken, unit_sum
from openmix.registry import MIXUPS


def vit(**options):
    torch.manual_seed(0)
    given = dict(img_size=32, patch_size=8, depth=2, embed_dim=24, num_heads=3, num_classes=0)
    return timm.create_model('vit_tiny_patch16_224', **{**given, **options}).eval()


def swin():
    torch.manual_seed(0)
    return timm.create_model(
        'swin_tiny_patch4_window7_224',
        img_size=64,
        window_size=4,
        embed_dim=24,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        num_classes=0,
    ).eval()


def attention(tokens, n=3, heads=2):
    torch.manual_seed(tokens)
    return torch.rand(n, heads, tokens, tokens).softmax(-1)


@pytest.mark.parametrize(
    ('options', 'by', 'leading', 'one_row'),
    [
        ({}, 'class token', 1, True),
        ({}, 'patches', 1, False),
        ({'reg_tokens': 4}, 'class token', 5, True),
        ({'class_token': False, 'reg_tokens': 4, 'global_pool': 'avg'}, 'class token', 4, False),
    ],
)
def test_the_tokens_before_the_patches_are_left_out(options, by, leading, one_row):
    a = attention(16 + leading)
    got = patches_taken(a, vit(**options), 32, 32, by)
    for n in range(3):
        rows = [0] if one_row else range(leading, leading + 16)
        wanted = [sum(float(a[n, h, row, leading + k]) for h in range(2) for row in rows) for k in range(16)]
        wanted = torch.tensor(wanted, dtype=torch.float64) / sum(wanted)
        torch.testing.assert_close(got[n].double().flatten(), wanted, rtol=1e-5, atol=1e-7)


def test_a_network_that_does_not_say_is_read_by_the_shape_of_its_images():
    a = attention(1 + 24)
    got = patches_taken(a, torch.nn.Identity(), 16, 24)
    assert got.shape == (3, 4, 6)
    torch.testing.assert_close(got.flatten(1), unit_sum(a.mean(1)[:, 0, 1:]))


def test_part_of_an_image_is_refused():
    with pytest.raises(InputError, match='not that of a whole image of 32 x 32'):
        patches_taken(attention(16), vit(), 32, 32)
    z = torch.rand(2, 3, 64, 64)
    policy = MIXUPS.build(dict(type='SMMix', site='layers.0.blocks.1.attn'))
    with pytest.raises(InputError, match='attends inside 32 windows of 2 images'):
        policy(z, MixContext(z, network=Network(swin(), torch.nn.Identity())))


def test_the_last_attention_is_found_in_every_library():
    assert last_attention(vit()) == 'blocks.1.attn'
    assert last_attention(swin()).startswith('layers.2.blocks.1.attn')
    plain = VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    assert last_attention(plain) == 'encoder.layers.encoder_layer_1.self_attention'
    with pytest.raises(InputError, match='computes no attention map'):
        last_attention(torch.nn.Conv2d(3, 4, 3))


def test_a_swin_is_read_in_its_last_stage():
    z = torch.rand(4, 3, 64, 64)
    for name in ('TransMix', 'MixPro', 'SMMix', 'TokenMix'):
        _, mix = MIXUPS.build(dict(type=name))(
            z, MixContext(z, torch.arange(4), network=Network(swin(), torch.nn.Linear(96, 5)))
        )
        assert bool(mix.weight.isfinite().all())


def test_a_mask_on_a_grid_is_its_first_pixel():
    mask = torch.rand(2, 1, 8, 12)
    assert torch.equal(on_grid(mask, (4, 3)), mask[:, 0, ::2, ::4])
