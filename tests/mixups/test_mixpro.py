"""Compare MixPro's grid masks and its progressive labels with slow loops."""

import math

import pytest
import timm
import torch

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.attention import attention_at
from openmix.mixups.mixpro import draw_grid_masks
from openmix.registry import MIXUPS


def network():
    torch.manual_seed(0)
    backbone = timm.create_model(
        'vit_tiny_patch16_224', img_size=32, patch_size=4, depth=2, embed_dim=24, num_heads=3, num_classes=0
    )
    return Network(backbone.eval(), torch.nn.Linear(24, 5))


def test_masks_keep_the_ceiling_of_lam_times_the_cells_anywhere():
    lam = torch.tensor([0.0, 0.01, 0.25, 0.5, 0.51, 1.0])
    torch.manual_seed(0)
    masks = torch.stack([draw_grid_masks(lam, 4, 4) for _ in range(400)])
    assert torch.equal(masks.sum((2, 3, 4)), torch.tensor([0.0, 1, 4, 8, 9, 16]).expand(400, 6))
    assert bool((masks[:, 2].mean(0) - 0.25).abs().max() < 0.1)


def test_the_label_follows_attention_as_far_as_the_prediction_fits():
    z, y, net = torch.rand(8, 3, 32, 32), torch.arange(8) % 5, network()
    net.head.weight.data.mul_(20)
    mixed, mix = MIXUPS.build(dict(type='MixPro'))(z, MixContext(z, y, network=net))
    assert (
        mix.mask.unflatten(2, (4, 8))
        .unflatten(4, (4, 8))
        .amax((3, 5))
        .eq(mix.mask.unflatten(2, (4, 8)).unflatten(4, (4, 8)).amin((3, 5)))
        .all()
    )
    attention = attention_at(net.backbone, 'blocks.1.attn', mixed).double()
    with torch.no_grad():
        predicted = net(mixed).double().softmax(1)
    for n in range(8):
        area = float(mix.mask[n].double().mean())
        taken = [sum(float(attention[n, h, 0, 1 + k]) for h in range(3)) for k in range(64)]
        kept = sum(one * float(mix.mask[n, 0, k // 8 * 4, k % 8 * 4]) for k, one in enumerate(taken)) / sum(taken)
        target = [0.0] * 5
        target[int(y[n])] += area
        target[int(y[mix.partner[n]])] += 1 - area
        dot = sum(t * float(p) for t, p in zip(target, predicted[n]))
        factor = dot / math.sqrt(sum(t * t for t in target)) / math.sqrt(sum(float(p) ** 2 for p in predicted[n]))
        assert float(mix.lam[n]) == pytest.approx(factor * kept + (1 - factor) * area, abs=1e-5)


def test_cells_that_do_not_divide_the_image_are_cut_off():
    z = torch.rand(4, 3, 32, 32)
    _, mix = MIXUPS.build(dict(type='MixPro', mask_patch=12, share='batch'))(
        z, MixContext(z, torch.arange(4), network=network())
    )
    assert mix.mask.shape == (4, 1, 32, 32)
    assert torch.equal(mix.mask[:, :, :12, :12].amax((2, 3)), mix.mask[:, :, :12, :12].amin((2, 3)))


def test_what_is_missing_is_one_line():
    z = torch.rand(2, 3, 32, 32)
    with pytest.raises(InputError, match='compares predictions with the labels'):
        MIXUPS.build(dict(type='MixPro'))(z, MixContext(z, network=network()))
    with pytest.raises(InputError, match='mask_patch=40 is larger than images of 32 x 32'):
        MIXUPS.build(dict(type='MixPro', mask_patch=40))(z, MixContext(z, torch.arange(2), network=network()))
