"""Compare TransMix with a slow loop over pixels, patches and heads, and its training step with two passes."""

import pytest
import timm
import torch

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.attention import attention_at
from openmix.models.mixing import mixed_features
from openmix.models.sites import Sites
from openmix.registry import MIXUPS, MODELS


def network(classes=5, **options):
    torch.manual_seed(0)
    given = dict(img_size=32, patch_size=8, depth=2, embed_dim=24, num_heads=3, num_classes=0)
    return Network(timm.create_model('vit_tiny_patch16_224', **{**given, **options}), torch.nn.Linear(24, classes))


def slow_lam(mask, attention, area_weight):
    """Sum the class token's attention to the patches whose first pixel is the sample's."""
    heads, tokens = attention.shape[0], attention.shape[-1]
    side = int((tokens - 1) ** 0.5)
    patch = mask.shape[-1] // side
    kept = total = 0.0
    for k in range(side * side):
        taken = sum(float(attention[h, 0, 1 + k]) for h in range(heads)) / heads
        total += taken
        kept += taken * float(mask[0, k // side * patch, k % side * patch])
    area = sum(float(one) for one in mask.flatten()) / mask.numel()
    return area_weight * area + (1 - area_weight) * kept / total


@pytest.mark.parametrize('area_weight', [0.0, 0.5])
@pytest.mark.parametrize('share', ['sample', 'batch'])
def test_the_label_is_the_attention_to_what_is_kept(share, area_weight):
    z, net = torch.rand(8, 3, 32, 32), network()
    policy = MIXUPS.build(dict(type='TransMix', share=share, area_weight=area_weight))
    mixed, mix = policy(z, MixContext(z, network=net))
    attention = attention_at(net.backbone, 'blocks.1.attn', mixed).double()
    wanted = [slow_lam(mix.mask[n], attention[n], area_weight) for n in range(8)]
    torch.testing.assert_close(mix.lam.double(), torch.tensor(wanted).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(mix.weight.sum(1), torch.ones(8))


@pytest.mark.parametrize('checkpointing', [False, True])
def test_a_training_step_reads_its_own_pass_and_runs_the_backbone_once(checkpointing):
    """Without dropout both ways of settling agree, and gradients are those of the same step with given labels."""
    model = MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(
                type='TimmBackbone',
                name='vit_tiny_patch16_224',
                img_size=32,
                patch_size=8,
                depth=2,
                embed_dim=24,
                num_heads=3,
            ),
            head=dict(type='LinearHead', num_classes=5),
            policy=dict(type='OneOf', policies=[dict(type='TransMix')]),
            grad_checkpointing=checkpointing,
        )
    ).train()
    x, y, runs = torch.rand(4, 3, 32, 32), torch.arange(4), []
    model.backbone.patch_embed.register_forward_hook(lambda *_: runs.append(1))
    torch.manual_seed(3)
    model.loss({'inputs': x, 'labels': y})['loss'].backward()
    assert runs == [1]
    found = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    torch.manual_seed(3)
    mixed, mix = model.policy.pick()[0](x, model.context(x, y))
    model.head.loss(model.head(model.backbone(mixed)), y, mix).backward()
    for name, one in model.named_parameters():
        torch.testing.assert_close(found[name], one.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    'around',
    [
        dict(type='PairedBy', by='other_class'),
        dict(type='Until', epoch=9),
    ],
)
def test_a_policy_around_it_settles_its_labels(around):
    z, net = torch.rand(6, 3, 32, 32), network()
    policy = MIXUPS.build(dict(policy=dict(type='TransMix'), **around))
    policy.attach(net)
    net.eval()
    sites = Sites(net.backbone, {''}, policy.attention_sites())
    context = MixContext(z, torch.arange(6) % 3, network=net)
    mixed = mixed_features(net.backbone, sites, policy, context)
    attention = attention_at(net.backbone, 'blocks.1.attn', mixed.tensor).double()
    wanted = [slow_lam(mixed.mix.mask[n], attention[n], 0.0) for n in range(6)]
    torch.testing.assert_close(mixed.mix.lam.double(), torch.tensor(wanted).double(), rtol=0, atol=1e-5)


def test_one_of_for_samples_settles_each_childs_labels():
    z, net = torch.rand(6, 3, 32, 32), network()
    child = dict(type='TransMix', alpha=1.0)
    policy = MIXUPS.build(dict(type='OneOf', policies=[child, child], share='sample'))
    policy.attach(net)
    mixed = mixed_features(
        net.backbone, Sites(net.backbone, {''}, policy.attention_sites()), policy, MixContext(z, network=net)
    )
    attention = attention_at(net.backbone, 'blocks.1.attn', mixed.tensor).double()
    wanted = [slow_lam(mixed.mix.mask[n], attention[n], 0.0) for n in range(6)]
    torch.testing.assert_close(mixed.mix.lam.double(), torch.tensor(wanted).double(), rtol=0, atol=1e-5)


def test_what_cannot_be_read_is_one_line():
    z = torch.rand(2, 3, 32, 32)
    policy = MIXUPS.build(dict(type='TransMix'))
    with pytest.raises(InputError, match='needs a context'):
        policy(z)
    with pytest.raises(InputError, match='reads the attention of a network'):
        policy(z, MixContext(z))
    with pytest.raises(InputError, match='computes no attention map'):
        policy.attach(Network(torch.nn.Conv2d(3, 4, 3), torch.nn.Identity()))
