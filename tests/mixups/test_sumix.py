"""Compare a training step with SUMix with a loop over pairs and classes, written from its equations."""

import math

import pytest
import timm
import torch
from torch import nn

from openmix.engine.precise_bn import precise_statistics
from openmix.errors import InputError
from openmix.mixups import MixContext, OneOf, SUMix
from openmix.models.classifier import MixClassifier
from openmix.models.heads import LinearHead
from openmix.network import Network

CLASSES = 5


def model_of(policy, **options):
    torch.manual_seed(0)
    backbone = dict(type='ThinResNet', depth=8, width=4)
    head = dict(type='LinearHead', num_classes=CLASSES, init_std=3.0)
    return MixClassifier(backbone, head, dict(type='SUMix', policy=policy, **options)).double()


def unit_softmax(values):
    exps = [math.exp(value) for value in values]
    norm = math.sqrt(sum((one / sum(exps)) ** 2 for one in exps))
    return [one / sum(exps) / norm for one in exps]


def distance(of_mixed, of_clean, not_in, scale):
    clean = [0.0 if c == not_in else p for c, p in enumerate(of_clean)]
    return [scale * one for one in unit_softmax([p - q for p, q in zip(of_mixed, clean)])]


def cross_entropy(logits, label):
    return math.log(sum(map(math.exp, logits))) - logits[label]


@pytest.mark.parametrize(
    ('policy', 'scale'),
    [
        (dict(type='CutMix', alpha=1.0), None),
        (dict(type='Mixup', share='batch'), 1.5),
        (dict(type='Mixup', lam_range=(0.9999, 1.0)), None),
    ],
)
def test_the_losses_are_those_of_the_equations(policy, scale):
    n, gamma, model = 6, 0.3, model_of(policy, scale=scale, gamma=0.3).train()
    torch.manual_seed(1)
    x, y = torch.randn(n, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    torch.manual_seed(2)
    losses = model.loss(dict(inputs=x, labels=y))
    torch.manual_seed(2)
    mixed, drawn = model.policy.policy(x)
    z_clean, z_mixed = model.backbone(x), model.backbone(mixed)
    p_clean, p_mixed = (model.head(z).softmax(1).tolist() for z in (z_clean, z_mixed))
    u_clean, u_mixed = ([unit_softmax(row) for row in model.policy.uncertainty(z).tolist()] for z in (z_clean, z_mixed))
    total = term = moved = 0.0
    for i in range(n):
        j, lam = int(drawn.partner[i]), float(drawn.lam[i])
        a, b = int(y[i]), int(y[j])
        d_a = distance(p_mixed[i], p_clean[i], b, scale or n)
        d_b = distance(p_mixed[i], p_clean[j], a, scale or n)
        kept, rest = lam * math.exp(-d_a[a]), (1 - lam) * math.exp(-d_b[b])
        share = kept / (kept + rest)
        moved = max(moved, abs(share - lam))
        total -= share * math.log(p_mixed[i][a]) + (1 - share) * math.log(p_mixed[i][b])
        v_a = [math.exp(-(d + u + v)) for d, u, v in zip(d_a, u_clean[i], u_mixed[i])]
        v_b = [math.exp(-(d + u + v)) for d, u, v in zip(d_b, u_clean[j], u_mixed[i])]
        term += lam * cross_entropy(v_a, a) + (1 - lam) * cross_entropy(v_b, b)
    torch.testing.assert_close(losses['loss'].item(), total / n, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(losses['uncertainty_loss'].item(), gamma * term / n, rtol=1e-5, atol=1e-8)
    assert (moved > 0.02) == ('lam_range' not in policy)
    assert set(losses) == {'loss', 'uncertainty_loss'}


def test_the_loss_of_uncertainty_trains_backbone_and_layer_but_not_the_head():
    model = model_of(dict(type='CutMix')).train()
    torch.manual_seed(0)
    losses = model.loss(dict(inputs=torch.randn(6, 3, 16, 16).double(), labels=torch.arange(6) % 5))
    losses['uncertainty_loss'].backward()
    assert model.head.fc.weight.grad is None
    for parameter in (model.policy.uncertainty.weight, model.backbone.conv1.weight):
        assert parameter.grad.abs().max() > 0
        assert parameter.grad.isfinite().all()


def test_evaluation_leaves_the_statistics_of_batch_norm():
    model = model_of(dict(type='CutMix')).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    z, y = torch.randn(6, 3, 16, 16).double(), torch.arange(6) % 5
    context = model.context(z, y)
    _, mix = model.policy(z, context)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(mix.weight.sum(1), torch.ones(6))
    with pytest.raises(InputError, match='mixed_losses reads what the backbone puts out'):
        model.policy.mixed_losses(mix, context, context.of_mixed(z))


@pytest.mark.parametrize('training', [True, False])
def test_losses_without_gradients_are_those_with_them(training):
    model, losses = model_of(dict(type='CutMix')).train(training), []
    batch = dict(inputs=torch.randn(6, 3, 16, 16).double(), labels=torch.arange(6) % 5)
    for gradients in (True, False):
        torch.manual_seed(0)
        with torch.set_grad_enabled(gradients):
            losses.append(model.loss(batch))
    assert losses[0].keys() == losses[1].keys() == {'loss', 'uncertainty_loss'}
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value.detach())


def test_precise_statistics_are_those_of_mixed_and_of_clean_images():
    model = model_of(dict(type='CutMix'))
    batch = dict(inputs=torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8), labels=torch.arange(6) % 5)
    x = model.data_preprocessor(batch, training=True)['inputs'].double()
    seen = []
    model.backbone.bn1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    found = precise_statistics(model, [dict(inputs=x, labels=batch['labels'])])
    assert len(seen) == 2
    wanted = torch.stack([z.mean((0, 2, 3)) for z in seen]).mean(0)
    torch.testing.assert_close(found[model.backbone.bn1][0], wanted)


def test_a_policy_that_settles_is_settled_once():
    """In a loop of one's own the share that is drawn is that of the policy alone."""
    torch.manual_seed(0)
    net = timm.create_model(
        'vit_tiny_patch16_224', img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=0
    )
    network = Network(net, LinearHead(12, CLASSES)).eval()
    policy, z, y = SUMix(dict(type='TransMix', area_weight=0.5)).eval(), torch.rand(4, 3, 16, 16), torch.arange(4)
    policy.attach(network)
    drawn = []
    for one in (policy.policy, policy):
        torch.manual_seed(1)
        drawn.append(one(z, MixContext(z, y, network=network))[1].lam)
    assert torch.equal(policy.drawn, drawn[0])


def test_class_probabilities_count_by_their_largest():
    model, y = model_of(dict(type='CutMix')).eval(), torch.arange(6) % 5
    z, shares = torch.randn(6, 3, 16, 16).double(), []
    for labels in (y, 0.9 * nn.functional.one_hot(y, 5).double() + 0.02):
        torch.manual_seed(0)
        shares.append(model.policy(z, model.context(z, labels))[1].lam)
    assert torch.equal(*shares)


def test_bad_input_is_an_input_error():
    z, y = torch.rand(4, 3, 16, 16), torch.arange(4)
    for policy in (dict(type='CoMixup'), dict(type='Mixup', sites=('layer1',)), 3):
        with pytest.raises(InputError, match='SUMix: policy must be one of pairs of images'):
            SUMix(policy)
    cut = dict(type='CutMix')
    with pytest.raises(InputError, match='gamma must be >= 0'):
        SUMix(cut, gamma=-0.1)
    with pytest.raises(InputError, match='scale must be > 0'):
        SUMix(cut, scale=0.0)
    with pytest.raises(InputError, match='SUMix needs a context'):
        SUMix(cut)(z)
    with pytest.raises(InputError, match='SUMix reads predictions and labels'):
        SUMix(cut)(z, MixContext(z, y))
    with pytest.raises(InputError, match='AutoMix is learned'):
        model_of(dict(type='AutoMix'))
    with pytest.raises(InputError, match='Linear has no num_classes'):
        SUMix(cut).attach(Network(nn.Flatten(), nn.Linear(3, 2)))
    with pytest.raises(InputError, match="adds losses of the mixed images, of whole batches; take share='batch'"):
        OneOf([SUMix(cut), cut], share='sample')
