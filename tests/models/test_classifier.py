"""Test `MixClassifier`: policy, backbone, head and loss together, and sites."""

import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from openmix.data.digits import Digits
from openmix.errors import InputError
from openmix.losses import decoupled_ce, mix_ce
from openmix.mix import Mix
from openmix.mixups import MixPolicy, Mixup
from openmix.models.heads import DMHead
from openmix.models.sites import Sites
from openmix.registry import MODELS

BACKBONE = dict(type='ThinResNet', depth=8, width=8)


def classifier(policy=None, head=None, seed=0, **options):
    torch.manual_seed(seed)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=BACKBONE,
            head=head or dict(type='LinearHead', num_classes=5),
            policy=policy or dict(type='NoMix'),
            **options,
        )
    )


def batch(n=6):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 16, 16, generator=g), torch.randint(5, (n,), generator=g)


class Head(nn.Module):
    """A head that is derived from none of openmix's."""

    def __init__(self, in_features, num_classes):
        super().__init__()
        self.num_classes, self.layer = num_classes, nn.Linear(in_features, num_classes)

    def forward(self, x):
        return self.layer(x)

    def loss(self, logits, y, mix):
        return mix_ce(logits, y, mix)


@pytest.mark.parametrize('head', ['LinearHead', Head])
def test_labels_are_held_against_the_classes_of_any_head(head):
    preprocessor = dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.5,) * 3)
    parts = dict(backbone=BACKBONE, head=dict(type=head, num_classes=5), policy=dict(type='NoMix'))
    model = MODELS.build(dict(type='MixClassifier', data_preprocessor=preprocessor, **parts))
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    model.data_preprocessor({'inputs': images, 'labels': torch.tensor([0, 4]), 'ids': torch.arange(2)})
    with pytest.raises(InputError, match=r'labels must be in \[0, 4\], got 5'):
        model.data_preprocessor({'inputs': images, 'labels': torch.tensor([0, 5]), 'ids': torch.arange(2)})


def test_vanilla_is_plain_cross_entropy():
    model = classifier()
    x, y = batch()
    expected = nn.functional.cross_entropy(model(x), y)
    torch.testing.assert_close(model(x, y, mode='loss')['loss'], expected)


@pytest.mark.parametrize('site', ['layer1', 'layer2', 'layer1.0'])
def test_hidden_site_equals_manifold_mixup_by_hand(site):
    model = classifier(dict(type='Mixup', alpha=1.0, sites=(site,))).eval()
    x, y = batch()
    torch.manual_seed(1)
    loss = model(x, y, mode='loss')['loss']

    torch.manual_seed(1)
    policy = Mixup(alpha=1.0)
    stored = []
    handle = model.backbone.get_submodule(site).register_forward_hook(lambda m, a, out: _blend(policy, out, stored))
    features = model.backbone(x)
    handle.remove()
    torch.testing.assert_close(loss, mix_ce(model.head(features), y, stored[0]))


def _blend(policy, out, stored):
    mixed, mix = policy(out)
    stored.append(mix)
    return mixed


def test_input_is_mixed_without_a_hook():
    model = classifier(dict(type='Mixup', alpha=1.0)).eval()
    x, y = batch()
    torch.manual_seed(3)
    loss = model(x, y, mode='loss')['loss']
    torch.manual_seed(3)
    mixed, mix = Mixup(alpha=1.0)(x)
    torch.testing.assert_close(loss, mix_ce(model(mixed), y, mix))
    assert not any(module._forward_hooks for module in model.modules())


def test_sites_are_drawn_evenly():
    policy = Mixup(sites=('', 'layer1', 'layer2'))
    torch.manual_seed(0)
    drawn = [policy.pick()[1] for _ in range(3000)]
    for site in policy.sites:
        assert abs(drawn.count(site) - 1000) < 4 * (3000 * 2 / 9) ** 0.5


def test_prediction_is_not_mixed():
    model = classifier(dict(type='Mixup', sites=('layer1',))).eval()
    x, y = batch()
    (out,) = model(x, y, torch.arange(6), mode='predict')
    torch.testing.assert_close(out['logits'], model(x))
    assert torch.equal(out['labels'], y)


def test_a_copy_of_the_model_is_not_mixed_by_the_original():
    model = classifier(dict(type='Mixup', sites=('layer1',))).eval()
    x, _ = batch()
    twin = copy.deepcopy(model)
    before = twin(x)
    with model.sites.armed('layer1', lambda z: z * 0):
        assert torch.equal(twin(x), before)
        assert not torch.equal(model(x), before)
    with twin.sites.armed('layer1', lambda z: z * 0):
        assert torch.equal(model(x), before)
        assert not torch.equal(twin(x), before)


def test_unknown_site_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'layer3'"):
        classifier(dict(type='Mixup', sites=('layer4',)))


def test_a_site_that_does_not_run_is_an_error():
    class TwoPaths(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Identity(), nn.Identity()

        def forward(self, x):
            return self.used(x)

    net = TwoPaths()
    sites = Sites(net, ['unused'])
    with pytest.raises(InputError, match="site 'unused' was not reached"), sites.armed('unused', lambda z: z):
        net(torch.zeros(1))


def test_a_policy_may_run_the_backbone_while_it_mixes():
    model = classifier(dict(type='Mixup', sites=('layer1',))).eval()
    x, _ = batch()
    calls = []

    def mix_fn(z):
        calls.append(model.backbone(x).shape)
        return z

    with model.sites.armed('layer1', mix_fn):
        model.backbone(x)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (dict(policy=dict(type='CutMx')), "did you mean 'CutMix'"),
        (dict(head=dict(type='LinearHed', num_classes=5)), "did you mean 'LinearHead'"),
        (dict(backbone=dict(type='ThinResnet')), "did you mean 'ThinResNet'"),
        (dict(head=dict(type='LinearHead', num_classes=1)), 'num_classes must be >= 2, got 1'),
    ],
)
def test_unknown_parts_are_one_line(change, line):
    parts = dict(backbone=BACKBONE, head=dict(type='LinearHead', num_classes=5), policy=dict(type='NoMix'))
    with pytest.raises(InputError, match=line):
        MODELS.build(dict(type='MixClassifier', **{**parts, **change}))


@pytest.mark.parametrize('options', [dict(sides='own', smoothing=0.1), *({k: v} for k, v in DMHead.published.items())])
def test_dm_head_is_the_linear_head_with_the_decoupled_loss(options):
    torch.manual_seed(0)
    by_name = MODELS.build(dict(type='DMHead', in_features=8, num_classes=5, eta=0.3, **options))
    torch.manual_seed(0)
    loss = dict(type='decoupled_ce', eta=0.3, **options)
    by_loss = MODELS.build(dict(type='LinearHead', in_features=8, num_classes=5, loss=loss))
    features = torch.randn(6, 8)
    mix = Mix.pairs(torch.arange(6).roll(1), torch.tensor([0.0005, 0.5, 0.2, 0.9, 0.6, 0.35]))
    y = torch.arange(6) % 4
    found = by_name.loss(by_name(features), y, mix)
    assert torch.equal(found, by_loss.loss(by_loss(features), y, mix))
    assert not torch.equal(found, decoupled_ce(by_name(features), y, mix, eta=0.3))
    assert DMHead.published == decoupled_ce.published


class Learned(MixPolicy):
    """A policy that trains one number towards 2 and keeps a momentum copy of the head."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.attached = 0

    def attach(self, online):
        self.attached += 1
        self.momentum_head = copy.deepcopy(online.head).requires_grad_(False)

    def forward(self, z, context=None, pairs=None):
        return z, Mix.none(len(z))

    def own_losses(self, context):
        assert context.network is not None
        return {'loss_mixer': (self.level - 2).square()}

    def after_step(self, online):
        for old, new in zip(self.momentum_head.parameters(), online.head.parameters()):
            old.lerp_(new, 0.5)


def test_learned_policy_brings_its_own_loss_and_is_attached_when_built():
    model = classifier(dict(type=Learned))
    assert model.policy.attached == 1
    losses = model(*batch(), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert model.policy.level.grad.item() == -4
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_loss_is_float32_under_autocast():
    model = classifier(dict(type='Mixup'))
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(*batch(), mode='loss')['loss']
    assert loss.dtype == torch.float32


def test_channels_last_is_the_format_of_images_and_weights():
    """Copies that policies keep included; a value changes by rounding alone."""
    init_default_scope('openmix')
    parts = dict(
        backbone=BACKBONE, head=dict(type='LinearHead', num_classes=5), policy=dict(type='AutoMix', site='layer2')
    )
    losses = {}
    for channels_last in (False, True):
        torch.manual_seed(0)
        preprocessor = dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.2,) * 3, channels_last=channels_last)
        model = MODELS.build(dict(type='MixClassifier', data_preprocessor=preprocessor, **parts))
        torch.manual_seed(1)
        data = dict(inputs=torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8), labels=torch.arange(6) % 5)
        losses[channels_last] = model(**model.data_preprocessor(data), mode='loss')
        kernels = [p for p in model.parameters() if p.dim() == 4 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) == channels_last for p in kernels)
        seen = []
        model.policy.encoder.backbone.layer3.register_forward_hook(lambda *args, seen=seen: seen.append(args[-1]))
        model(model.data_preprocessor(data)['inputs'])
        assert seen[0].is_contiguous(memory_format=torch.channels_last) == channels_last
    torch.testing.assert_close(losses[True], losses[False])


def test_compiled_backbone_is_still_mixed():
    model = classifier(dict(type='Mixup', sites=('layer1',)))
    torch._dynamo.reset()
    model.backbone.compile(backend='eager')
    x, y = batch()
    torch.manual_seed(2)
    compiled = model(x, y, mode='loss')['loss']
    plain = classifier(dict(type='Mixup', sites=('layer1',)))
    torch.manual_seed(2)
    torch.testing.assert_close(compiled, plain(x, y, mode='loss')['loss'])


def test_ten_crops_sum_their_logits_beside_those_of_one():
    """The records have one network more, the centre crop's."""
    model = classifier().eval()
    x, y = batch()
    model.ten_crop = (12, 12)
    answer = model.predict({'inputs': x, 'labels': y, 'ids': torch.arange(len(x))})
    starts = [(0, 0), (0, 3), (3, 0), (3, 3), (2, 2)]
    crops = [one[..., t : t + 12, s : s + 12] for one in (x, x.flip(-1)) for t, s in starts]
    logits = [model.head(model.backbone(crop)).detach() for crop in crops]
    torch.testing.assert_close(answer['logits'], sum(logits))
    assert answer['others'].keys() == {'one_crop'}
    torch.testing.assert_close(answer['others']['one_crop'], logits[4])
    assert not torch.allclose(answer['logits'] / 10, logits[4], atol=1e-4)


@pytest.mark.parametrize(('given', 'wrong'), [(0, 'ten_crop'), ((4, 4, 4), 'got 3 numbers'), ((4, 0), 'ten_crop')])
def test_a_crop_has_pixels(given, wrong):
    with pytest.raises(InputError, match=wrong):
        MODELS.build(
            dict(
                type='MixClassifier',
                backbone=BACKBONE,
                head=dict(type='LinearHead', num_classes=5),
                policy=dict(type='NoMix'),
                ten_crop=given,
            )
        )


def test_a_list_without_a_class_is_refused_or_kept(tmp_path):
    """A number of images is the user's own choice; a list may have lost a class unseen."""
    data, own = Digits(), tmp_path / 'own.txt'
    first = [int((data.labels == label).nonzero()[0]) for label in range(10)]
    own.write_text('\n'.join(str(row) for label, row in enumerate(first) if label not in (4, 7)))
    listed = Digits(subset=str(own))
    with pytest.raises(InputError, match=r"2 of 10 classes have no training image: 4, 7; .* model.absent='kept'"):
        classifier().check_data(listed)
    classifier(absent='kept').check_data(listed)
    classifier().check_data(Digits(subset=5))
    own.write_text('\n'.join(map(str, first)))
    classifier().check_data(Digits(subset=str(own)))
    with pytest.raises(InputError, match='absent'):
        classifier(absent='no')
