"""Test `MomentumEncoder` and `Frozen`: which weights are averaged, which are fixed, and which are saved."""

import copy

import pytest
import torch
from torch import nn

from openmix.algorithm import Algorithm, Network
from openmix.errors import InputError
from openmix.mixups.frozen import Frozen
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.registry import MIXUPS, MODELS


def parts(seed):
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return backbone, nn.Linear(4, 5), nn.Linear(4, 2)


def test_it_answers_with_every_head_and_passes_gradients_to_its_input_alone():
    backbone, head, projector = parts(0)
    encoder = MomentumEncoder(backbone, head=head, projector=projector)
    x = torch.randn(6, 3, 8, 8, requires_grad=True)
    torch.testing.assert_close(encoder(x), head(backbone(x)))
    torch.testing.assert_close(encoder(x, 'projector'), projector(backbone(x)))
    encoder(x).sum().backward()
    assert x.grad.any()
    assert all(not p.requires_grad and p.grad is None for p in encoder.parameters())


def test_it_follows_parameters_by_the_formula_and_keeps_statistics_of_its_own():
    backbone, head, _ = parts(0)
    encoder = MomentumEncoder(backbone, head=head)
    before = {name: value.double().clone() for name, value in encoder.named_parameters()}
    moved_backbone, moved_head, _ = parts(1)
    moved_backbone[1].running_mean.fill_(3.0)
    encoder.follow(0.9, moved_backbone, head=moved_head)
    new = dict(
        nn.ModuleDict({'backbone': moved_backbone, 'heads': nn.ModuleDict({'head': moved_head})}).named_parameters()
    )
    for name, value in encoder.named_parameters():
        torch.testing.assert_close(value.double(), 0.9 * before[name] + 0.1 * new[name].double(), rtol=0, atol=1e-6)
    assert not encoder.backbone[1].running_mean.any()


def test_it_starts_from_parameters_and_statistics_in_the_same_tensors():
    backbone, head, _ = parts(0)
    encoder = MomentumEncoder(backbone, head=head)
    held = [tensor.data_ptr() for tensor in encoder.state_dict().values()]
    other, its_head, _ = parts(1)
    other[1].running_mean.fill_(3.0)
    encoder.start(other, head=its_head)
    assert [tensor.data_ptr() for tensor in encoder.state_dict().values()] == held
    assert all(torch.equal(value, encoder.backbone.state_dict()[key]) for key, value in other.state_dict().items())
    assert all(torch.equal(value, encoder.heads.head.state_dict()[key]) for key, value in its_head.state_dict().items())


class Owner(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.own, self.asked = nn.Linear(2, 2), Frozen(module)


def test_a_frozen_module_moves_with_its_owner_and_is_no_part_of_checkpoints():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    owner = Owner(module).train()
    assert module.training
    assert not owner.asked.module.training
    assert owner.state_dict().keys() == {'own.weight', 'own.bias'}
    before = copy.deepcopy(owner.asked.module.state_dict())
    owner.load_state_dict({name: torch.zeros_like(value) for name, value in owner.state_dict().items()})
    assert all(torch.equal(value, before[key]) for key, value in owner.asked.module.state_dict().items())
    assert {name for name, p in owner.named_parameters() if p.requires_grad} == {'own.weight', 'own.bias'}
    owner.double()
    assert owner.asked(torch.ones(3, 2, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(RuntimeError, match='Missing key'):
        owner.load_state_dict({'own.weight': torch.zeros(2, 2)})


def learner(mixer_losses):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type='ThinResNet', depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5),
            policy=dict(type='AutoMix', mixer_losses=mixer_losses),
        )
    )


def test_the_losses_of_the_mixer_are_summed_by_their_weights():
    """The loss is linear in the weights, in value and in the gradient of every parameter of the block."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 3, 16, 16, generator=g), torch.randint(5, (6,), generator=g)

    def taught(mixer_losses):
        model = learner(mixer_losses)
        model.policy.mixer.eval()  # its dropout and statistics
        torch.manual_seed(1)
        loss = model.policy.generation_losses(x, y)['mixer_loss']
        loss.backward()
        return [loss.detach(), *(p.grad for p in model.policy.mixer.parameters())]

    ce, bce = [dict(type='mix_ce')], [dict(type='mix_bce')]
    assert all(torch.equal(a, b) for a, b in zip(taught(None), taught(ce)))
    both = taught([dict(type='mix_ce', weight=0.5), dict(type='mix_bce', weight=2.0)])
    for found, one, other in zip(both, taught(ce), taught(bce)):
        torch.testing.assert_close(found, 0.5 * one + 2 * other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('mixer_losses', 'line'),
    [
        ([], 'mixer_losses must be a list'),
        ('mix_ce', 'mixer_losses must be a list'),
        (['mix_ce'], 'mixer_losses'),
        ([dict(type='mix_ces')], "did you mean 'mix_ce'"),
        ([dict(type='mix_ce', wieght=1.0)], "has no option 'wieght'"),
        ([dict(type='mix_ce', weight=-1.0)], 'weight must be'),
    ],
)
def test_wrong_losses_of_the_mixer_are_one_line(mixer_losses, line):
    with pytest.raises(InputError, match=line):
        MIXUPS.build(dict(type='AMix', mixer_losses=mixer_losses))


def test_a_block_that_is_no_mixer_is_one_line():
    class Plain(nn.Linear):
        def __init__(self, in_channels):
            super().__init__(in_channels, 1)

    policy = MIXUPS.build(dict(type='AutoMix', mixer=dict(type=Plain)))
    backbone = MODELS.build(dict(type='ThinResNet', depth=8, width=8))
    with pytest.raises(InputError, match='Plain is no mixer; derive it from Mixer'):
        policy.attach(Network(backbone, nn.Linear(32, 5)))


def test_heads_that_are_left_out_are_an_error():
    backbone, head, projector = parts(0)
    encoder = MomentumEncoder(backbone, head=head, projector=projector)
    for call in (lambda: encoder.follow(0.9, backbone, head=head), lambda: encoder.start(backbone)):
        with pytest.raises(InputError, match='has the heads head, projector'):
            call()


class Lending(Algorithm):
    """An algorithm with a momentum encoder of its own, which its learned policy uses."""

    def __init__(self, **policy):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = MODELS.build(dict(type='ThinResNet', depth=8, width=8))
        self.head = MODELS.build(dict(type='LinearHead', in_features=32, num_classes=5))
        self.encoder = MomentumEncoder(self.backbone, head=self.head)
        self.policy = MIXUPS.build(dict(type='AutoMix', **policy))
        self.policy.attach(Network(self.backbone, self.head), self.encoder)


def test_a_policy_may_borrow_the_momentum_encoder_of_its_algorithm():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 3, 16, 16, generator=g), torch.randint(5, (6,), generator=g)
    model, own = Lending(), learner(None)
    own.policy.mixer.load_state_dict(model.policy.mixer.state_dict())
    own.policy.encoder.load_state_dict(model.encoder.state_dict())
    assert model.policy.encoder is model.encoder
    assert not any(key.startswith('policy.encoder') for key in model.state_dict())
    losses = []
    for policy in (model.policy, own.policy):
        torch.manual_seed(1)
        losses.append(policy.generation_losses(x, y))
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    before = copy.deepcopy(model.encoder.state_dict())
    torch.nn.init.ones_(model.head.fc.weight)
    online = Network(model.backbone, model.head)
    model.policy.before_step(1, 4)
    model.policy.start(online)
    model.policy.after_step(online)
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    assert model.policy.networks(online).keys() == {''}
    again = copy.deepcopy(model)
    assert again.policy.encoder is again.encoder
    with pytest.raises(InputError, match="has the heads head: a policy that borrows it needs one called 'head'"):
        Lending(heads='split')
