"""Gradient checkpointing gives the same losses, gradients and statistics, and keeps fewer activations."""

import copy

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.mixups import Mixup
from openmix.models.grad_checkpointing import checkpoint_blocks, repeated_blocks
from openmix.registry import MODELS

THIN = dict(type='ThinResNet', depth=14, width=8)
BACKBONES = {
    'thin': THIN,
    'wide, dropout': dict(type='WideResNet', depth=10, widen_factor=1, dropout=0.3),
    'transformer, drop path': dict(
        type='TimmBackbone', name='vit_tiny_patch16_224', img_size=16, patch_size=4, embed_dim=24, depth=3, num_heads=3
    )
    | dict(drop_path_rate=0.5, proj_drop_rate=0.2),
    'densely connected': dict(type='TimmBackbone', name='densenet121', growth_rate=4, block_config=(2, 2)),
    'other library': dict(type='TorchvisionBackbone', name='shufflenet_v2_x0_5'),
}
POLICIES = {
    'hidden sites': dict(type='Mixup', sites=('', 'layer1', 'layer2.0')),
    'a site inside a block': dict(type='Mixup', sites=('layer2.0.conv1',)),
    'learned': dict(type='AutoMix', site='layer2'),
    'learned at times': dict(type='AMix', train_prob=0.5, site='layer2'),
    'saliency of evaluation': dict(type='PuzzleMix', block_nums=(4,)),
    'saliency of training': dict(type='PuzzleMix', block_nums=(4,), batch_statistics=True),
    'saliency that is trained on': dict(type='CoMixup', part=4, clean_weight=1.0),
}


def classifier(backbone=THIN, policy=None, **options):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='MixClassifier',
            backbone=backbone,
            head=dict(type='LinearHead', num_classes=5, init_std=0.3),
            policy=policy or dict(type='NoMix'),
            **options,
        )
    )
    return model.train()


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, 16, 16, generator=g), torch.randint(5, (8,), generator=g)


def trained(model, steps=2, autocast=False):
    """Train some steps; return losses, gradients and state."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = {}
    for step in range(steps):
        torch.manual_seed(step)
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            losses = model(*batch(step), mode='loss')
        optimizer.zero_grad()
        sum(losses.values()).backward()
        found |= {f'{step} {name}': loss.detach() for name, loss in losses.items()}
        found |= {f'{step} {name}': p.grad for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        model.after_step()
    return found | copy.deepcopy(dict(model.state_dict()))


def assert_same(checkpointed, plain):
    assert checkpointed.keys() == plain.keys()
    for name in plain:
        assert torch.equal(checkpointed[name], plain[name]), name


@pytest.mark.parametrize('name', BACKBONES)
def test_backbones_learn_the_same_to_the_bit(name):
    backbone = BACKBONES[name]
    plain = trained(classifier(backbone))
    assert any('running_mean' in key or 'norm' in key for key in plain)
    assert_same(trained(classifier(backbone, grad_checkpointing=True)), plain)


@pytest.mark.parametrize('name', POLICIES)
def test_policies_learn_the_same_to_the_bit(name):
    policy = POLICIES[name]
    assert_same(trained(classifier(policy=policy, grad_checkpointing=True), 3), trained(classifier(policy=policy), 3))


@pytest.mark.parametrize('name', [name for name in POLICIES if name.startswith('saliency')])
def test_saliency_is_that_of_the_model_without_its_parameters(name):
    """A linear layer keeps other tensors where its weight gets no gradient."""
    backbone, policy = BACKBONES['transformer, drop path'], POLICIES[name]
    plain = trained(classifier(backbone, policy))
    assert_same(trained(classifier(backbone, policy, grad_checkpointing=True)), plain)


def test_mixed_precision_learns_the_same_to_the_bit():
    policy = POLICIES['hidden sites']
    model = classifier(policy=policy, grad_checkpointing=['layer1.0', 'layer3'])
    assert_same(trained(model, autocast=True), trained(classifier(policy=policy), autocast=True))


def test_blocks_run_twice_and_statistics_count_once():
    """What is not handled counts every batch twice, the second time silently."""
    model = classifier(grad_checkpointing=['layer1.0'])
    runs = []
    model.backbone.layer1[0].conv1.register_forward_hook(lambda *_: runs.append('checkpointed'))
    model.backbone.layer2[0].conv1.register_forward_hook(lambda *_: runs.append('kept'))
    trained(model, 1)
    assert sorted(runs) == ['checkpointed', 'checkpointed', 'kept']
    assert {int(value) for name, value in model.state_dict().items() if 'num_batches' in name} == {1}


def test_a_policy_mixes_once(monkeypatch):
    calls, forward = [], Mixup.forward
    monkeypatch.setattr(Mixup, 'forward', lambda self, *args: calls.append(1) or forward(self, *args))
    trained(classifier(policy=dict(type='Mixup', sites=('layer1.1',)), grad_checkpointing=True), 1)
    assert calls == [1]


def test_a_block_that_holds_a_site_is_left_as_it_is():
    model = classifier(policy=dict(type='Mixup', sites=('layer1.0.conv1', 'layer2')))
    left = set(repeated_blocks(model.backbone)) - set(checkpoint_blocks(model.backbone, True, model.policy.all_sites()))
    assert left == {'layer1.0'}


def kept_bytes(model):
    """Count the bytes that a forward pass keeps for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*batch(), mode='loss')
    return sum(kept.values())


def test_less_is_kept_for_the_backward_pass():
    assert kept_bytes(classifier(grad_checkpointing=True)) < 0.5 * kept_bytes(classifier())


def test_nothing_runs_twice_without_gradients():
    model = classifier(grad_checkpointing=True)
    with torch.no_grad():
        assert torch.equal(model(batch()[0]), classifier()(batch()[0]))


def test_a_copy_runs_its_own_blocks():
    model = classifier(grad_checkpointing=True)
    before, twin = model.backbone(batch()[0]), copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    after = twin.backbone(batch()[0])
    assert torch.equal(after, before)
    after.sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert twin.backbone.layer1[0].conv1.weight.grad is not None


def test_a_kept_graph_is_run_backward_twice():
    model = classifier(grad_checkpointing=True)
    loss = model(*batch(), mode='loss')['loss']
    weight = model.backbone.layer1[0].conv1.weight
    (first,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (second,) = torch.autograd.grad(loss, weight)
    assert torch.equal(first, second)
    assert {int(value) for name, value in model.state_dict().items() if 'num_batches' in name} == {1}


@pytest.mark.parametrize(
    ('name', 'blocks'),
    [
        ('timm/swin_tiny_patch4_window7_224', {'SwinTransformerBlock'}),
        ('timm/convnext_tiny', {'ConvNeXtBlock'}),
        ('torchvision/efficientnet_b0', {'MBConv'}),
        ('torchvision/resnet18', {'BasicBlock'}),
    ],
)
def test_which_blocks_are_meant(name, blocks):
    library, model = name.split('/')
    kind = {'timm': 'TimmBackbone', 'torchvision': 'TorchvisionBackbone'}[library]
    with torch.device('meta'):
        backbone = MODELS.build(dict(type=kind, name=model))
    assert {type(backbone.get_submodule(block)).__name__ for block in repeated_blocks(backbone)} == blocks


@pytest.mark.parametrize(
    ('blocks', 'message'),
    [
        (['layer5'], "ThinResNet has no module 'layer5'; did you mean 'layer"),
        ([''], "ThinResNet has no module ''"),
        (['layer2'], r"the policy mixes at 'layer2.0' inside 'layer2', which runs twice"),
    ],
)
def test_bad_blocks_are_one_line(blocks, message):
    with pytest.raises(InputError, match=message):
        classifier(policy=dict(type='Mixup', sites=('layer2.0',)), grad_checkpointing=blocks)


def test_a_backbone_without_blocks_is_one_line():
    with torch.device('meta'), pytest.raises(InputError, match='VGG has no repeated blocks'):
        classifier(dict(type='TorchvisionBackbone', name='vgg11'), grad_checkpointing=True)
    with pytest.raises(InputError, match="'0' is only a list of modules"):
        checkpoint_blocks(nn.Sequential(nn.ModuleList([nn.ReLU()])), ['0'])
