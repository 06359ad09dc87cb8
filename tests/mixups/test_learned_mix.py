"""Test the learned policies: which losses train which network, the momentum encoder, and the reported networks."""

import copy
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.evaluation.accuracy import Accuracy
from openmix.losses import decoupled_ce, mix_ce
from openmix.mix import Mix
from openmix.mixups import AutoMix, MixContext, OneOf
from openmix.mixups.feature_site import FeatureSite, output_at
from openmix.mixups.mix_block import adjust_mask, mask_loss
from openmix.registry import MIXUPS, MODELS

NAMES = ['AutoMix', 'AMix', 'SAMix']
every_name = pytest.mark.parametrize('name', [*NAMES, 'AdAutoMix'])
# Those whose block minimises the losses of the momentum encoder that a recipe names.
every_ally = pytest.mark.parametrize('name', NAMES)
CLASSES = 5


def classifier(policy, head=None, backbone=None, seed=0):
    torch.manual_seed(seed)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=backbone or dict(type='ThinResNet', depth=8, width=8),
            head=head or dict(type='LinearHead', num_classes=CLASSES),
            policy=policy if isinstance(policy, dict) else dict(type=policy),
        )
    )


def batch(n=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 16, 16, generator=g), torch.randint(CLASSES, (n,), generator=g)


def with_slopes(model):
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def online(model):
    return {f'{part}.{name}' for part in ('backbone', 'head') for name, _ in getattr(model, part).named_parameters()}


@every_name
def test_the_generation_task_teaches_the_block_alone(name):
    model = classifier(name)
    x, y = batch()
    losses = model.policy.generation_losses(x, y, model.context(x, y))
    sum(losses.values()).backward()
    taught = with_slopes(model)
    assert {part.split('.')[1] for part in taught} == {'mixer'}
    assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith('policy.mixer.'))


@every_name
def test_the_classification_task_teaches_the_classifier_alone(name):
    model = classifier(name)
    x, y = batch()
    mixed, mix = model.policy(x, model.context(x, y))
    assert not mix.mask.requires_grad
    model.head.loss(model.head(model.backbone(mixed)), y, mix).backward()
    assert with_slopes(model) <= online(model)
    assert all(p.grad is None for p in model.policy.parameters())


@every_name
def test_every_trainable_parameter_learns_in_a_step(name):
    model = classifier(name)
    sum(model(*batch(), mode='loss').values()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


@every_ally
def test_the_gradient_is_that_of_one_backward_pass_through_everything(name):
    model = classifier(name)
    policy = model.policy.eval()  # no dropout, no statistics that move between the two computations
    x, y = batch()
    torch.manual_seed(4)
    losses = policy.generation_losses(x, y)
    sum(losses.values()).backward()
    found = {n: p.grad.clone() for n, p in policy.mixer.named_parameters()}
    policy.mixer.zero_grad()

    torch.manual_seed(4)
    partner, lam = torch.randperm(6), policy.draw_lam(6, x.device)
    features = FeatureSite(policy.encoder.backbone, 'layer3')(policy.encoder.backbone, x)
    mask = policy.mixer(features, features[partner], lam, (16, 16))
    mix = Mix.pairs(partner, lam, mask)
    logits = policy.encoder.heads.head(policy.encoder.backbone(mask * x + (1 - mask) * x[partner]))
    of_masks = 0.1 * mask_loss(mask, lam, 0.1, 1.0, policy.variance_weight)
    loss = mix_ce(logits, y, mix)
    (loss + of_masks).backward()
    torch.testing.assert_close(losses['mixer_loss'], loss)
    torch.testing.assert_close(losses['mask_loss'], of_masks)
    for n, p in policy.mixer.named_parameters():
        torch.testing.assert_close(found[n], p.grad, rtol=1e-4, atol=1e-7, msg=lambda text, n=n: f'{n}: {text}')


def test_the_total_is_three_cross_entropies_and_a_tenth_of_the_mask_loss():
    model = classifier(dict(type='AutoMix', mask_schedule='cosine'), dict(type='DMHead', num_classes=CLASSES, eta=1.0))
    model.eval()
    x, y = batch()
    model.before_step(1, 4)
    torch.manual_seed(7)
    losses = model(x, y, mode='loss')
    torch.manual_seed(7)
    policy = model.policy
    own, other = [(torch.randperm(6), policy.draw_lam(6, x.device)) for _ in range(2)]
    features = output_at(policy.encoder.backbone, 'layer3', x)
    masks = [policy.mixer(features, features[partner], lam, (16, 16)) for partner, lam in (own, other)]
    mixes = [Mix.pairs(*drawn, mask) for drawn, mask in zip((own, other), masks)]
    assert not torch.equal(own[0], other[0])
    assert not (own[1] == other[1]).any()
    net = lambda z: model.head(model.backbone(z))  # noqa: E731
    torch.testing.assert_close(losses['loss'], decoupled_ce(net(mixes[0].blend(x)), y, mixes[0], eta=1.0))
    torch.testing.assert_close(losses['clean_loss'], nn.functional.cross_entropy(net(x), y))
    torch.testing.assert_close(losses['mixer_loss'], mix_ce(model(mixes[1].blend(x)), y, mixes[1]))
    weight = 0.1 * (1 + math.cos(math.pi / 4)) / 2
    torch.testing.assert_close(losses['mask_loss'], weight * mask_loss(masks[1], other[1]))


@every_name
def test_only_the_momentum_encoder_moves_after_a_step(name):
    model = classifier(name)
    for p in model.parameters():
        nn.init.normal_(p)
    before = copy.deepcopy(model)
    model.before_step(250, 1000)
    momentum = model.policy.momentum_now()
    model.after_step()
    pairs = [('encoder.backbone', before.backbone), ('encoder.heads.head', before.head)]
    if name == 'SAMix':
        pairs.append(('encoder.heads.clean', before.policy.own_clean_head))
    moved = set()
    for copy_name, followed in pairs:
        for key, new in followed.named_parameters():
            full = f'policy.{copy_name}.{key}'
            old = before.get_parameter(full)
            wanted = momentum * old.double() + (1 - momentum) * new.double()
            torch.testing.assert_close(model.get_parameter(full).double(), wanted, rtol=0, atol=1e-6)
            moved.add(full)
    clamped = {'policy.mixer.gamma'}
    for key, value in model.state_dict().items():
        assert key in moved | clamped or torch.equal(value, before.state_dict()[key]), key
    if name == 'AMix':
        assert 0 <= model.policy.mixer.gamma <= 1


def test_gamma_is_clamped_after_the_step():
    model = classifier('AMix')
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert model.policy.mixer.gamma == 0
    for slope, wanted in ((1.0, 0.0), (-0.25, 0.25), (-9.0, 1.0)):
        model.policy.mixer.gamma.grad = torch.tensor(slope)
        optimizer.step()
        model.after_step()
        assert model.policy.mixer.gamma.item() == wanted


def test_momentum_over_training():
    paper = MIXUPS.build(dict(type='AMix'))
    values = []
    for step in range(0, 1001, 100):
        paper.before_step(step, 1000)
        values.append(paper.momentum_now())
        assert values[-1] == pytest.approx(1 - 0.001 * (1 + math.cos(math.pi * step / 1000)) / 2, abs=1e-12)
    assert (values[0], values[-1]) == (0.999, 1.0)
    assert values == sorted(values)
    released = MIXUPS.build(dict(type='SAMix'))
    released.before_step(99, 1000)
    assert released.momentum_now() == 0.999
    released.before_step(500, 1000)
    assert released.momentum_now() == pytest.approx((0.999 + 0.999999) / 2)


def test_mask_weight_over_training():
    def weights(schedule):
        policy = MIXUPS.build(dict(type='AMix', mask_schedule=schedule))
        found = []
        for step in (0, 50, 500, 1000):
            policy.before_step(step, 1000)
            found.append(policy.mask_weight_now())
        return found

    assert weights('constant') == [0.1] * 4
    assert weights('cosine')[2] == pytest.approx(0.05)
    assert weights('cosine')[3] == pytest.approx(0)
    first, early, *late = weights('compounded')
    assert first == 0.1
    assert 0.08 < early < 0.1
    assert max(late) < 1e-6


def test_the_features_are_those_of_the_site_and_nothing_behind_it_runs():
    model = classifier('AMix', backbone=dict(type='CIFARResNet', depth=18))
    policy, (x, _) = model.policy, batch(2)
    seen, ran = [], []
    twin = copy.deepcopy(policy.encoder.backbone)
    twin.layer3.register_forward_hook(lambda m, a, out: seen.append(out))
    twin(x)
    policy.encoder.backbone.layer4.register_forward_hook(lambda *_: ran.append(1))
    features = policy.features(x, None)
    assert torch.equal(features, seen[0])
    assert not ran
    assert not features.requires_grad
    assert not policy.encoder.backbone.layer3._forward_hooks
    # Statistics in front of the site are followed, those behind it are not: nothing passed there.
    assert policy.encoder.backbone.layer3[0].bn1.num_batches_tracked == 1
    assert policy.encoder.backbone.layer4[0].bn1.num_batches_tracked == 0
    assert model.backbone.layer3[0].bn1.num_batches_tracked == 0


def test_the_features_are_computed_once_a_step():
    model = classifier('AMix')
    x, y = batch()
    calls = []
    model.policy.encoder.backbone.conv1.register_forward_hook(lambda *_: calls.append(1))
    model(x, y, mode='loss')
    assert len(calls) == 2  # the features, and the mixed images of the generation task
    context = model.context(x, y)
    model.policy(torch.cat([x, x]), context, torch.arange(6, 12))  # another pool than the context's
    assert len(calls) == 3
    for _ in range(2):
        model.policy(x, context)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ('backbone', 'site', 'size', 'shape'),
    [
        (dict(type='CIFARResNet', depth=18), 'layer3', 32, (256, 8, 8)),
        (dict(type='WideResNet', depth=10, widen_factor=2), 'layer2', 32, (64, 16, 16)),
        (dict(type='TorchvisionBackbone', name='resnet18'), 'layer3', 96, (256, 6, 6)),
        (dict(type='TimmBackbone', name='vit_tiny_patch16_224', img_size=64), 'blocks.5', 64, (192, 4, 4)),
        (dict(type='TimmBackbone', name='deit_tiny_distilled_patch16_224', img_size=48), 'blocks.5', 48, (192, 3, 3)),
        (dict(type='TorchvisionBackbone', name='vit_b_16'), 'encoder.layers.encoder_layer_0', 224, (768, 14, 14)),
        (dict(type='TorchvisionBackbone', name='swin_t'), 'features.5', 64, (384, 4, 4)),
    ],
    ids=lambda value: '' if not isinstance(value, dict) else value.get('name', value['type']),
)
def test_feature_maps_of_every_family(backbone, site, size, shape):
    net = MODELS.build(backbone).eval()
    found = FeatureSite(net, site)
    assert found.channels == shape[0]
    with torch.no_grad():
        assert found(net, torch.randn(2, 3, size, size)).shape == (2, *shape)


def test_tokens_are_laid_out_row_by_row_without_the_class_token():
    net = MODELS.build(dict(type='TimmBackbone', name='vit_tiny_patch16_224', img_size=(32, 64))).eval()
    site = FeatureSite(net, 'blocks.0')
    x = torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        tokens, maps = output_at(net, 'blocks.0', x), site(net, x)
    assert maps.shape == (2, 192, 2, 4)
    for i in range(2):
        for j in range(4):
            assert torch.equal(maps[:, :, i, j], tokens[:, 1 + 4 * i + j])


@pytest.mark.parametrize(
    ('site', 'line'),
    [('layer4', "no site 'layer4' to read features at; did you mean 'layer3'.*valid: avgpool"), ('', 'no site')],
)
def test_a_site_that_is_not_there_names_those_that_are(site, line):
    with pytest.raises(InputError, match=line):
        classifier(dict(type='AMix', site=site))


def test_a_site_without_maps_is_one_line():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    with pytest.raises(InputError, match=r"site '1' puts out \(2, 200704\), not feature maps"):
        FeatureSite(net, '1')


@every_name
def test_attaching_again_copies_loaded_weights_into_the_same_tensors(name):
    model = classifier(name)
    kept = {key: value.data_ptr() for key, value in model.state_dict().items()}
    trained = copy.deepcopy(model.policy.mixer.state_dict())
    for part in (model.backbone, model.head):
        for value in part.state_dict().values():
            value.copy_(torch.randint(1, 9, value.shape))
    model.start()
    assert kept == {key: value.data_ptr() for key, value in model.state_dict().items()}
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, model.policy.encoder.backbone.state_dict()[key])
    for key, value in model.head.state_dict().items():
        assert torch.equal(value, model.policy.encoder.heads.head.state_dict()[key])
    for key, value in trained.items():
        assert torch.equal(value, model.policy.mixer.state_dict()[key])


def steps_of(model, optimizer, first, count, total=6):
    for step in range(first, first + count):
        torch.manual_seed(step)
        model.before_step(step, total)
        optimizer.zero_grad()
        sum(model(*batch(seed=step), mode='loss').values()).backward()
        optimizer.step()
        model.after_step()


@every_name
def test_a_resumed_run_goes_on_bit_for_bit(name, tmp_path):
    def fresh(seed=0):
        model = classifier(name, seed=seed)
        return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    whole, optimizer = fresh()
    steps_of(whole, optimizer, 0, 3)
    torch.save(dict(model=whole.state_dict(), optimizer=optimizer.state_dict()), tmp_path / 'half.pth')
    twin = copy.deepcopy(whole)
    steps_of(whole, optimizer, 3, 3)

    resumed, optimizer = fresh(seed=9)
    half = torch.load(tmp_path / 'half.pth', weights_only=True)
    resumed.load_state_dict(half['model'])
    optimizer.load_state_dict(half['optimizer'])
    steps_of(resumed, optimizer, 3, 3)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert not torch.equal(whole.backbone.bn1.running_mean, whole.policy.encoder.backbone.bn1.running_mean)
    # The copy is a model of its own.
    for key, value in half['model'].items():
        assert torch.equal(value, twin.state_dict()[key])


def test_the_momentum_encoder_is_judged_and_the_others_are_reported_beside():
    model = classifier('SAMix').eval()
    for p in model.parameters():
        nn.init.normal_(p)
    x, y = batch()
    policy = model.policy
    (out,) = model(x, y, torch.arange(6), mode='predict')
    momentum, own = policy.encoder.backbone(x), model.backbone(x)
    assert torch.equal(out['logits'], policy.encoder.heads.head(momentum))
    assert torch.equal(model(x), out['logits'])
    wanted = {
        'online': model.head(own),
        'online_clean': policy.own_clean_head(own),
        'momentum_clean': policy.encoder.heads.clean(momentum),
    }
    assert out['others'].keys() == wanted.keys()
    for name, logits in wanted.items():
        assert torch.equal(out['others'][name], logits)

    metric = Accuracy(topk=(1, 2))
    metric.process(None, [out])
    metric.process(None, [out])
    scores = metric.evaluate(12)
    for name, logits in {'': out['logits'], **{f'{name}/': z for name, z in wanted.items()}}.items():
        right = (logits.argmax(1) == y).float().mean().item() * 100
        assert scores[f'accuracy/{name}top1'] == pytest.approx(right)
        assert scores[f'accuracy/{name}nll'] == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)
        assert f'accuracy/{name}top2' in scores


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_it_is_attached_to_a_network_of_any_precision(dtype):
    backbone = MODELS.build(dict(type='ThinResNet', depth=8, width=8)).to(dtype)
    policy = MIXUPS.build(dict(type='AutoMix'))
    policy.attach(Network(backbone, nn.Linear(32, CLASSES).to(dtype)))
    assert policy.encoder.backbone.conv1.weight.dtype == dtype


def test_of_several_learned_children_every_network_is_reported():
    children = [dict(type='AutoMix'), dict(type='Mixup'), dict(type='SAMix', heads='split')]
    model = classifier(dict(type='OneOf', policies=children)).eval()
    networks = model.networks()
    assert list(networks) == ['', 'momentum', 'online_clean_2', 'momentum_clean_2', 'momentum_2']
    first, _, second = model.policy.choices()
    assert networks['momentum'].backbone is first.encoder.backbone
    assert networks['momentum_2'].backbone is second.encoder.backbone
    assert networks[''].backbone is model.backbone


def test_a_plain_policy_reports_the_model_alone():
    model = classifier('Mixup').eval()
    (out,) = model(*batch(), torch.arange(6), mode='predict')
    assert out['others'] == {}


def test_some_masks_are_adjusted_and_extreme_shares_interpolated():
    policy = MIXUPS.build(dict(type='AMix', adjust_prob=0.25, lam_margin=0.08))
    torch.manual_seed(0)
    mask, lam = torch.rand(4000, 1, 4, 4), torch.linspace(0, 1, 4000)
    settled = policy.settling(mask, lam)
    plain = torch.minimum(lam, 1 - lam) <= 0.08
    assert torch.equal(settled[plain], lam[plain].view(-1, 1, 1, 1).expand(-1, 1, 4, 4))
    adjusted = (settled == adjust_mask(mask, lam)).flatten(1).all(1)
    untouched = (settled == mask).flatten(1).all(1)
    assert (plain | adjusted | untouched).all()
    rate = (adjusted & ~plain).sum().item() / (~plain).sum().item()
    assert rate == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 3300) ** 0.5)
    assert torch.equal(MIXUPS.build(dict(type='AMix')).settling(mask, lam), mask)


def test_the_classifier_gets_settled_masks_and_the_block_its_own():
    model = classifier(dict(type='AMix', adjust_prob=1.0))
    x, y = batch()
    mixed, mix = model.policy(x, model.context(x, y))
    torch.testing.assert_close(mix.mask.mean((1, 2, 3)), mix.lam, rtol=0, atol=1e-6)
    torch.testing.assert_close(mixed, mix.mask * x + (1 - mix.mask) * x[mix.partner])
    # Masks that were adjusted would leave nothing for the mask loss to teach.
    assert model.policy.generation_losses(x, y)['mask_loss'] > 0


def test_the_block_may_skip_steps():
    model = classifier(dict(type='AutoMix', train_prob=0.5))
    assert model.policy.leaves_parameters_unused
    assert not classifier('AutoMix').policy.leaves_parameters_unused
    x, y = batch(2)
    torch.manual_seed(0)
    trained = ['mixer_loss' in model.policy.own_losses(model.context(x, y)) for _ in range(100)]
    assert 30 < sum(trained) < 70


def test_a_skipped_step_may_keep_the_mask_loss():
    """As the released code does: the mask loss, by hand from the same draws, and its gradient alone."""
    model = classifier(dict(type='AMix', train_prob=0.5, skips='mixer_loss', mixer=dict(dropout=0.0)))
    policy = model.policy
    assert not policy.leaves_parameters_unused
    x, y = batch()
    context = model.context(x, y)
    policy.features(x, context)  # once, so that the statistics do not move between the two computations
    policy.mixer.eval()
    kinds = set()
    for seed in range(8):
        policy.mixer.zero_grad()
        torch.manual_seed(seed)
        losses = policy.own_losses(context)
        kinds.add(tuple(losses))
        torch.manual_seed(seed)
        assert ('mixer_loss' in losses) == (torch.rand(()).item() < 0.5)
        if 'mixer_loss' in losses:
            continue
        sum(losses.values()).backward()
        found = {name: p.grad.clone() for name, p in policy.mixer.named_parameters()}
        policy.mixer.zero_grad()
        partner, lam = torch.randperm(6), policy.draw_lam(6, x.device)
        features = policy.features(x, context)
        wanted = 0.1 * mask_loss(policy.mixer(features, features[partner], lam, (16, 16)), lam, 0.1, 1.0, 1.0)
        torch.testing.assert_close(losses['mask_loss'], wanted)
        wanted.backward()
        for name, p in policy.mixer.named_parameters():
            torch.testing.assert_close(found[name], p.grad)
        assert any(slope.any() for slope in found.values())
    assert kinds == {('mixer_loss', 'mask_loss'), ('mask_loss',)}


def test_published_automix_interpolates_extreme_shares_for_the_classifier_alone():
    model = classifier(dict(type='AutoMix', **AutoMix.published))
    x, y = batch()
    context = model.context(x, y)
    for lam, plain in ((0.08, True), (0.0801, False), (0.92, True), (0.9199, False), (0.0, True)):
        held = model.policy.holding(lam)
        _, mix = held(x, context)
        assert (mix.mask == lam).all() == plain
        # The constant mask would have the mean lam, and no mask loss.
        assert held.generation_losses(x, y, context)['mask_loss'] > 0.01


@every_ally
def test_published_options_of_the_released_code(name):
    policy = MIXUPS.build(dict(type=name, **MIXUPS.get(name).published))
    assert (policy.share, policy.lam_margin, policy.skips) == ('batch', 0.08, 'mixer_loss')


def test_one_of_hands_everything_on():
    model = classifier(dict(type='OneOf', policies=[dict(type='AMix'), dict(type='Mixup')]))
    assert isinstance(model.policy, OneOf)
    assert model.policy.leaves_parameters_unused
    model.before_step(3, 4)
    learned = model.policy.choices()[0]
    assert (learned.step, learned.steps) == (3, 4)
    (out,) = model.eval()(*batch(), torch.arange(6), mode='predict')
    assert out['others'].keys() == {'momentum'}
    assert torch.equal(out['logits'], model.head(model.backbone(batch()[0])))


@every_name
def test_maps_for_pictures(name):
    model = classifier(name).eval()
    x, y = batch()
    context = model.context(x, y)
    _, mix = model.policy(x, context)
    maps = model.policy.maps(context, mix)
    assert {key: tuple(value.shape) for key, value in maps.items()} == {
        'content': (6, 1, 4, 4),
        'attention': (6, 1, 4, 4),
        'mask': (6, 1, 16, 16),
    }
    torch.testing.assert_close(maps['attention'].mean((1, 2, 3)), torch.ones(6))
    if name != 'SAMix':  # whose masks are settled before they are used
        assert torch.equal(maps['mask'], mix.mask)


def test_given_pools_take_their_own_features():
    model = classifier('AutoMix').eval()
    x, _ = batch(9)
    pairs = torch.tensor([8, 5, 5, 0])
    torch.manual_seed(2)
    _, mix = model.policy(x, None, pairs)
    torch.manual_seed(2)
    lam = model.policy.draw_lam(4, x.device)
    features = model.policy.features(x, None)
    wanted = torch.cat(
        [
            model.policy.mixer(features[n : n + 1], features[p : p + 1], lam[n : n + 1], (16, 16))
            for n, p in enumerate(pairs.tolist())
        ]
    )
    torch.testing.assert_close(mix.mask, wanted, rtol=0, atol=1e-6)


def test_bfloat16_autocast_trains():
    model = classifier('AMix')
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(*batch(), mode='loss')
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(momentum=1.5), 'momentum'),
        (dict(heads='two'), "'shared' or 'split'"),
        (dict(mask_schedule='linear'), "'constant' or 'cosine'"),
        (dict(lam_margin=0.7), 'lam_margin'),
        (dict(skips='mask_loss'), "skips must be 'both' or 'mixer_loss'"),
        (dict(mixer='MixBlock'), 'mixer must be a dict'),
        (dict(site=3), 'site must be the name'),
        (dict(mixer=dict(contnt='linear')), "did you mean 'content'"),
        (dict(mixer=dict(type='MixBlok')), "did you mean 'MixBlock'"),
    ],
)
def test_wrong_options_are_one_line(options, line):
    with pytest.raises(InputError, match=line):
        MIXUPS.build(dict(type='AMix', **options))


def test_a_policy_without_a_model_says_what_is_missing():
    policy = MIXUPS.build(dict(type='AutoMix'))
    with pytest.raises(InputError, match='AutoMix needs a network'):
        policy(torch.rand(2, 3, 8, 8))
    with pytest.raises(InputError, match='the context needs labels'):
        classifier('AutoMix').policy.own_losses(MixContext(batch()[0]))


@pytest.mark.slow
@every_ally
def test_masks_learn_on_digits(name):
    """Within a few steps: with a fast momentum encoder, and Adam for the block.

    Without dropout, whose draws torch's releases make in different ways: few steps depend on them.
    """
    digits = load_digits()
    x = torch.from_numpy(digits.images).float().div(16)[:, None].expand(-1, 3, -1, -1)
    x = nn.functional.interpolate(x, scale_factor=2) * 2 - 1
    y = torch.from_numpy(digits.target)
    policy = dict(type=name, site='layer2', momentum=0.9, momentum_end=0.9, mixer=dict(dropout=0.0))
    model = classifier(policy, head=dict(type='LinearHead', num_classes=10))
    rest = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith('policy.mixer.')]
    optimizers = [
        torch.optim.SGD(rest, lr=0.1, momentum=0.9),
        torch.optim.Adam(model.policy.mixer.parameters(), lr=3e-3),
    ]
    history = []
    for step in range(90):
        torch.manual_seed(step)
        rows = torch.randint(len(x), (100,))
        model.before_step(step, 90)
        losses = model(x[rows], y[rows], mode='loss')
        sum(losses.values()).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        model.after_step()
        history.append(losses['mask_loss'].item())
    assert sum(history[-15:]) < 0.95 * sum(history[:15])
    _, mix = model.policy(x[:100])
    assert mix.mask.flatten(1).std(1).mean() > 0.005
    right = (model.eval()(x).argmax(1) == y).float().mean()
    assert right > 0.8
