"""Compare attention maps with the softmax that each library's module computes without its fused kernel."""

import pytest
import timm
import torch
from torchvision.models import VisionTransformer

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.attention import attention_at


def timm_vit(**options):
    torch.manual_seed(0)
    return timm.create_model(
        'vit_tiny_patch16_224', img_size=32, depth=2, patch_size=8, num_classes=0, **options
    ).eval()


def torchvision_vit():
    torch.manual_seed(0)
    return VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64).eval()


@pytest.mark.parametrize('fused', [True, False])
def test_timms_attention_is_its_softmax_on_fused_kernels_too(fused):
    model, x = timm_vit(qk_norm=True), torch.randn(3, 3, 32, 32)
    layer = model.blocks[1].attn
    layer.fused_attn = fused
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    qkv = layer.qkv(seen[0]).reshape(3, 17, 3, layer.num_heads, layer.head_dim).permute(2, 0, 3, 1, 4)
    q, k = layer.q_norm(qkv[0]), layer.k_norm(qkv[1])
    wanted = (q * layer.scale @ k.transpose(-2, -1)).softmax(-1)
    got = attention_at(model, 'blocks.1.attn', x)
    assert got.shape == (3, layer.num_heads, 17, 17)
    assert not got.requires_grad
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.sum(-1), torch.ones(3, layer.num_heads, 17))


def test_the_map_of_a_compiled_backbone_is_that_of_the_plain_one():
    model, x = timm_vit(), torch.randn(2, 3, 32, 32)
    wanted = attention_at(model, 'blocks.1.attn', x)
    model.compile(backend='eager')
    with torch.no_grad():
        model(x)
    assert torch.equal(attention_at(model, 'blocks.1.attn', x), wanted)


def test_torchvisions_attention_is_that_of_its_module():
    model, x = torchvision_vit(), torch.randn(3, 3, 32, 32)
    name = 'encoder.layers.encoder_layer_1.self_attention'
    layer, seen = model.get_submodule(name), []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    _, wanted = layer(seen[0], seen[0], seen[0], need_weights=True, average_attn_weights=False)
    torch.testing.assert_close(attention_at(model, name, x), wanted, rtol=1e-4, atol=1e-6)


def test_the_backbone_is_left_as_it_was_and_the_map_computed_once():
    model = timm_vit(drop_rate=0.5).train()
    calls = []
    model.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    context = MixContext(torch.randn(2, 3, 32, 32), network=Network(model, torch.nn.Identity()))
    drawn = torch.get_rng_state()
    first, again = context.attention('blocks.0.attn'), context.attention('blocks.0.attn')
    assert torch.equal(drawn, torch.get_rng_state())
    assert first is again
    assert calls == [1]
    assert all(module.training for module in model.modules())
    assert not model.blocks[0].attn._forward_hooks
    assert not model.blocks[0].attn._forward_pre_hooks


@pytest.mark.parametrize(
    ('site', 'line'),
    [('blocks.7.attn', "no module 'blocks.7.attn'"), ('norm', 'no attention map'), ('blocks', '2 attention maps')],
)
def test_another_module_is_one_line(site, line):
    model = timm_vit()
    with pytest.raises(InputError, match=line):
        attention_at(model, site, torch.randn(1, 3, 32, 32))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_context_without_a_network_is_one_line():
    with pytest.raises(InputError, match='attention needs the network'):
        MixContext(torch.randn(1, 3, 32, 32)).attention('blocks.0.attn')


def test_attention_between_channels_is_refused():
    torch.manual_seed(0)
    model = timm.create_model('xcit_nano_12_p16_224', num_classes=0, img_size=64).eval()
    with pytest.raises(InputError, match='which is not between its 16 tokens'):
        attention_at(model, 'blocks.0.attn', torch.randn(1, 3, 64, 64))
