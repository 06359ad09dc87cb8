"""Test backbones: shapes, sites, parameter counts by hand, blocks against slow references, weights from files."""

import copy
import math
import urllib.error
from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from torch import nn

from openmix.errors import InputError
from openmix.models.backbones.cifar_resnet import CIFARResNet, CIFARResNeXt, PadShortcut, ThinResNet
from openmix.models.backbones.timm_backbone import timm_backbone
from openmix.models.backbones.torchvision_backbone import torchvision_backbone
from openmix.models.backbones.wide_resnet import PreActBlock, WideResNet
from openmix.registry import MODELS

THREE = ('layer1', 'layer2', 'layer3')
FOUR = (*THREE, 'layer4')

# What is built, its sites, and channels and size of every site's output at 32 pixels.
SMALL = {
    'cifar18': ({'type': 'CIFARResNet', 'depth': 18}, FOUR, [(64, 32), (128, 16), (256, 8), (512, 4)]),
    'cifarx50': ({'type': 'CIFARResNeXt'}, FOUR, [(256, 32), (512, 16), (1024, 8), (2048, 4)]),
    'thin20': ({'type': 'ThinResNet', 'width': 4}, THREE, [(4, 32), (8, 16), (16, 8)]),
    'wrn16': ({'type': 'WideResNet', 'depth': 16, 'widen_factor': 2}, THREE, [(32, 32), (64, 16), (128, 8)]),
    'timm18': (
        {'type': 'TimmBackbone', 'name': 'resnet18', 'zero_init_last': False},
        FOUR,
        [(64, 8), (128, 4), (256, 2), (512, 1)],
    ),
    'torchvision18': (
        {'type': 'TorchvisionBackbone', 'name': 'resnet18'},
        FOUR,
        [(64, 8), (128, 4), (256, 2), (512, 1)],
    ),
}


@pytest.fixture(params=SMALL)
def small(request):
    torch.manual_seed(0)
    cfg, sites, shapes = SMALL[request.param]
    return MODELS.build(cfg), sites, shapes


# The other forms of Wide-ResNet: that of semi-supervised learning, and its port to PyTorch.
OLIVER = {
    'bias': True,
    'negative_slope': 0.1,
    'norm_eps': 1e-3,
    'norm_momentum': 1e-3,
    'transition': 'raw_shortcut',
}
PORT = {**OLIVER, 'transition': 'raw'}


def build_on_meta(cfg):
    with torch.device('meta'):
        return MODELS.build(cfg)


def count(module):
    return sum(p.numel() for p in module.parameters())


# --- the contract, for every backbone ---


@pytest.mark.parametrize('size', [(32, 32), (33, 33), (37, 45)])
def test_pooled_features(small, size):
    backbone, _, _ = small
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, *size))
    assert isinstance(backbone.num_features, int)
    assert features.shape == (2, backbone.num_features)
    assert features.isfinite().all()


def test_every_site_is_hookable(small):
    backbone, sites, shapes = small
    backbone.eval()
    x = torch.randn(2, 3, 32, 32)
    seen = []
    with torch.no_grad():
        plain = backbone(x)
        for site in sites:

            def swap(module, args, output):
                seen.append(tuple(output.shape[1:]))
                return output.flip(0)

            handle = backbone.get_submodule(site).register_forward_hook(swap)
            # What follows a site sees each sample alone, so swapping two samples there swaps the features.
            torch.testing.assert_close(backbone(x), plain.flip(0), rtol=1e-4, atol=1e-4)
            handle.remove()
    assert not torch.allclose(plain, plain.flip(0), rtol=1e-4, atol=1e-4)
    assert seen == [(channels, size, size) for channels, size in shapes]


def test_gradients_reach_every_parameter_and_the_input(small):
    backbone, _, _ = small
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    features = backbone(x)
    (features * torch.randn_like(features)).sum().backward()
    assert x.grad.abs().sum() > 0
    assert [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_deepcopy_is_independent(small):
    backbone, _, _ = small
    backbone.eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = backbone(x)
        clone = copy.deepcopy(backbone)
        for p in backbone.parameters():
            p.zero_()
        assert torch.equal(clone(x), before)
        assert not torch.equal(backbone(x), before)
    assert clone.num_features == backbone.num_features


def test_convolutions_are_drawn_by_fan_out(small):
    backbone, _, _ = small
    wide = [m for m in backbone.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() >= 2000]
    assert wide
    for conv in wide:
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    for norm in (m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)):
        assert (norm.weight == 1).all()
        assert not norm.bias.any()


# --- parameter counts, derived by hand ---


def conv_bn(i, o, k, groups=1):
    return i * o * k * k // groups + 2 * o


def resnet_params(blocks, bottleneck, width=64, groups=1):
    total, i = conv_bn(3, 64, 3), 64
    for stage, n in enumerate(blocks):
        c = 64 * 2**stage
        o, mid = (4 * c, c * width * groups // 64) if bottleneck else (c, c)
        for b in range(n):
            if bottleneck:
                total += conv_bn(i, mid, 1) + conv_bn(mid, mid, 3, groups) + conv_bn(mid, o, 1)
            else:
                total += conv_bn(i, o, 3) + conv_bn(o, o, 3)
            total += conv_bn(i, o, 1) if b == 0 and i != o else 0
            i = o
    return total


def thin_params(n, w):
    stages = n * 2 * conv_bn(w, w, 3)
    for c in (2 * w, 4 * w):
        stages += conv_bn(c // 2, c, 3) + conv_bn(c, c, 3) + (n - 1) * 2 * conv_bn(c, c, 3)
    return conv_bn(3, w, 3) + stages


def wrn_params(n, k, bias=False):
    total, i = 3 * 16 * 9 + 16 * bias, 16
    for c in (16 * k, 32 * k, 64 * k):
        first = 2 * i + 9 * i * c + 2 * c + 9 * c * c + (i * c if i != c else 0)
        total += first + (n - 1) * 2 * (2 * c + 9 * c * c)
        total += (2 * n * c + (c if i != c else 0)) * bias
        i = c
    return total + 2 * i


def vit_params(d, depth, tokens, patch):
    return depth * (12 * d * d + 13 * d) + (3 * patch * patch + 1) * d + d + tokens * d + 2 * d


def swin_params(d, depths, heads, window):
    total = (3 * 16 + 1) * d + 2 * d
    for stage, (n, h) in enumerate(zip(depths, heads)):
        c = d * 2**stage
        if stage:
            total += 2 * 2 * c + 2 * c * c  # a norm and a linear layer of 4 (c / 2) -> c
        total += n * (12 * c * c + 13 * c + (2 * window - 1) ** 2 * h)
    return total + 2 * c


@pytest.mark.parametrize(
    ('cfg', 'derived', 'classes', 'published'),
    [
        ({'type': 'CIFARResNet', 'depth': 18}, resnet_params([2, 2, 2, 2], False), 100, 11_220_132),
        ({'type': 'CIFARResNet', 'depth': 34}, resnet_params([3, 4, 6, 3], False), 100, 21_328_292),
        ({'type': 'CIFARResNet', 'depth': 50}, resnet_params([3, 4, 6, 3], True), 100, 23_705_252),
        ({'type': 'CIFARResNeXt', 'depth': 50}, resnet_params([3, 4, 6, 3], True, 4, 32), 100, 23_177_124),
        ({'type': 'ThinResNet', 'depth': 20}, thin_params(3, 16), 10, 269_722),
        ({'type': 'ThinResNet', 'depth': 56}, thin_params(9, 16), 10, 853_018),
        ({'type': 'ThinResNet', 'depth': 20, 'width': 8}, thin_params(3, 8), 10, None),
        ({'type': 'WideResNet', 'depth': 28, 'widen_factor': 10}, wrn_params(4, 10), 100, 36_536_884),
        ({'type': 'WideResNet', 'depth': 28, 'widen_factor': 8}, wrn_params(4, 8), 100, 23_401_012),
        ({'type': 'WideResNet', 'depth': 28, 'widen_factor': 2}, wrn_params(4, 2), 10, 1_467_610),
        ({'type': 'WideResNet', 'depth': 16, 'widen_factor': 1}, wrn_params(2, 1), 10, None),
        ({'type': 'WideResNet', 'depth': 28, 'widen_factor': 2, **OLIVER}, wrn_params(4, 2, True), 10, 1_469_642),
        ({'type': 'WideResNet', 'depth': 28, 'widen_factor': 8, **OLIVER}, wrn_params(4, 8, True), 100, 23_409_092),
        ({'type': 'WideResNet', 'depth': 28, 'widen_factor': 8, **PORT}, wrn_params(4, 8, True), 100, 23_409_092),
        ({'type': 'TimmBackbone', 'name': 'deit_small_patch16_224'}, vit_params(384, 12, 197, 16), 1000, 22_050_664),
        (
            {'type': 'TimmBackbone', 'name': 'swin_tiny_patch4_window7_224'},
            swin_params(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
            1000,
            28_288_354,
        ),
    ],
    ids=lambda v: '-'.join(map(str, v.values())) if isinstance(v, dict) else '',
)
def test_parameter_count(cfg, derived, classes, published):
    backbone = build_on_meta(cfg)
    assert count(backbone) == derived
    if published is not None:
        assert count(backbone) + (backbone.num_features + 1) * classes == published


# --- blocks against slow references ---


def slow_conv(x, weight, stride):
    """Compute a convolution as a sum over taps, with zero padding that keeps the size at stride 1."""
    n, _, h, w = x.shape
    out_channels, _, k, _ = weight.shape
    pad = k // 2
    out = torch.zeros(n, out_channels, -(-h // stride), -(-w // stride), dtype=x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            for u in range(k):
                for v in range(k):
                    row, column = i * stride + u - pad, j * stride + v - pad
                    if 0 <= row < h and 0 <= column < w:
                        out[:, :, i, j] += x[:, :, row, column] @ weight[:, :, u, v].T
    return out


def slow_bn_relu(x, norm):
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    x = (x - mean) / (var + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    return x.clamp(min=0)


@pytest.mark.parametrize(('channels', 'stride'), [(3, 1), (4, 1), (6, 2)])
def test_preactivation_block_is_the_papers(channels, stride):
    torch.manual_seed(0)
    block = PreActBlock(3, channels, stride, dropout=0.0).double()
    for norm in (block.bn1, block.bn2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    active = slow_bn_relu(x, block.bn1)
    hidden = slow_bn_relu(slow_conv(active, block.conv1.weight, stride), block.bn2)
    expected = slow_conv(hidden, block.conv2.weight, 1)
    expected += x if (channels, stride) == (3, 1) else slow_conv(active, block.shortcut.weight, stride)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize('form', [{}, OLIVER, PORT], ids=['zagoruyko', 'oliver', 'port'])
def test_wide_resnet_by_loops(form):
    """The whole network in training mode, written out: 10 layers are one block a stage."""
    torch.manual_seed(0)
    net = WideResNet(depth=10, widen_factor=2, **form).double()
    for name, value in net.named_parameters():
        if 'bn' in name or name.endswith('bias'):
            nn.init.normal_(value)
    slope, eps, momentum = (0.1, 1e-3, 1e-3) if form else (0.0, 1e-5, 0.1)

    def conv(x, module, stride=1):
        out = slow_conv(x, module.weight, stride)
        assert (module.bias is not None) == bool(form)
        return out if module.bias is None else out + module.bias[:, None, None]

    def active(x, norm):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        z = (x - mean) / (var + eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        return torch.where(z > 0, z, slope * z)

    x = torch.randn(3, 3, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        z = conv(x, net.conv1)
        for stage in (1, 2, 3):
            block, stride = net.get_submodule(f'layer{stage}.0'), min(stage, 2)
            read = active(z, block.bn1)
            if stage == 1 or not form:
                left, right = read, read
            elif form is OLIVER:
                left, right = read, z
            else:
                left, right = z, z
            left = conv(active(conv(left, block.conv1, stride), block.bn2), block.conv2)
            z = left + conv(right, block.shortcut, stride)
        expected = active(z, net.bn).mean((2, 3))
        torch.testing.assert_close(net(x), expected)
    # The running statistics are those of one batch, with the weight of a new value.
    torch.testing.assert_close(net.bn.running_mean, momentum * z.mean((0, 2, 3)))


def test_the_published_form_is_that_of_semi_supervised_learning():
    assert WideResNet.published == OLIVER


@pytest.mark.parametrize(('form', 'frozen'), [(OLIVER, 0), (PORT, 192)])
def test_every_weight_of_a_wide_resnet_is_trained_or_frozen(form, frozen):
    """WRN-28-2 of the port has 192 weights that nothing reads: DDP would wait for their gradients."""
    torch.manual_seed(0)
    net = WideResNet(depth=28, widen_factor=2, **form)
    net(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert {p.requires_grad for p in net.parameters() if p.grad is None} <= {False}
    assert sum(p.numel() for p in net.parameters() if not p.requires_grad) == frozen
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.Conv2d))
    assert net.load_state_dict(WideResNet(depth=28, widen_factor=2, **OLIVER).state_dict())


def test_dropout_sits_before_the_second_convolution():
    torch.manual_seed(0)
    block = PreActBlock(4, 4, 1, dropout=0.5)
    kept = []
    block.conv2.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    x = torch.randn(8, 4, 16, 16)
    block(x)
    block.eval()(x)
    # Half of a normalised map is zero after the ReLU, half of the rest after dropout.
    assert (kept[0] == 0).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert (kept[1] == 0).float().mean().item() < 0.65


@pytest.mark.parametrize('size', [6, 7])
def test_option_a_shortcut(size):
    x = torch.randn(2, 3, size, size)
    out = PadShortcut(new_channels=3, stride=2)(x)
    half = (size + 1) // 2
    assert out.shape == (2, 6, half, half)
    for i in range(half):
        for j in range(half):
            assert torch.equal(out[:, :3, i, j], x[:, :, 2 * i, 2 * j])
    assert not out[:, 3:].any()


def test_option_a_is_used_where_the_size_halves():
    backbone = ThinResNet(depth=14, width=2)
    where = [name for name, m in backbone.named_modules() if isinstance(m, PadShortcut)]
    assert where == ['layer2.0.downsample', 'layer3.0.downsample']


@pytest.mark.parametrize(
    'build',
    [
        lambda: MODELS.build({'type': 'CIFARResNet', 'depth': 20}),
        lambda: CIFARResNet(depth=18, groups=32, width_per_group=4),
        lambda: CIFARResNeXt(depth=34),
        lambda: ThinResNet(depth=18),
        lambda: ThinResNet(width=0),
        lambda: WideResNet(depth=27),
        lambda: WideResNet(widen_factor=0),
        lambda: WideResNet(depth=10, dropout=1.0),
        lambda: WideResNet(depth=10, norm_eps=0.0),
        lambda: WideResNet(depth=10, norm_momentum=1.5),
        lambda: WideResNet(depth=10, negative_slope=-0.1),
        lambda: WideResNet(depth=10, transition='row'),
    ],
)
def test_wrong_sizes_are_one_line(build):
    with pytest.raises(InputError) as caught:
        build()
    assert '\n' not in str(caught.value)


# --- residual blocks that start as their shortcuts ---


ZERO = {'zero_init_residual': True}


@pytest.mark.parametrize(
    ('cfg', 'zero'),
    [
        ({'type': 'CIFARResNet', 'depth': 18}, ZERO),
        ({'type': 'CIFARResNeXt'}, ZERO),
        ({'type': 'ThinResNet', 'width': 4}, ZERO),
        ({'type': 'TorchvisionBackbone', 'name': 'resnet18'}, ZERO),
        ({'type': 'TimmBackbone', 'name': 'resnet18', 'zero_init_last': False}, {'zero_init_last': True}),
    ],
    ids=lambda v: v.get('type', ''),
)
def test_a_block_starts_as_its_shortcut(cfg, zero):
    torch.manual_seed(0)
    plain = MODELS.build(cfg)
    torch.manual_seed(0)
    backbone = MODELS.build(cfg | zero)
    blocks = [m for m in backbone.modules() if type(m).__name__ in ('BasicBlock', 'Bottleneck')]
    assert len(blocks) == sum(type(m).__name__ in ('BasicBlock', 'Bottleneck') for m in plain.modules()) > 0
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 6, 6)
        shortcut = x if block.downsample is None else block.downsample(x)
        assert torch.equal(block(x), shortcut.clamp(min=0))
    # Nothing else is changed: the other weights are those of the same seed, and the draws that follow are too.
    changed = {name for name, p in plain.named_parameters() if not torch.equal(p, backbone.get_parameter(name))}
    last = 'bn3' if 'NeXt' in cfg['type'] else 'bn2'
    assert changed == {name for name, _ in plain.named_parameters() if name.endswith(f'.{last}.weight')}
    assert len(changed) == len(blocks)


# --- timm ---


@pytest.mark.parametrize(
    ('name', 'width', 'sites'),
    [
        ('resnet18', 512, FOUR),
        ('deit_small_patch16_224', 384, ('blocks.5', 'blocks.11')),
        ('swin_tiny_patch4_window7_224', 768, ('layers.1', 'layers.2')),
        ('mobilenetv3_large_100', 1280, ('blocks.3',)),  # pre-logits are wider than the last stage
        ('vgg11', 4096, ('features',)),
    ],
)
def test_timm_features_are_what_the_classifier_reads(name, width, sites):
    backbone = build_on_meta({'type': 'TimmBackbone', 'name': name})
    reached = []
    for site in sites:
        backbone.get_submodule(site).register_forward_hook(lambda m, a, out, site=site: reached.append(site))
    features = backbone(torch.empty(2, 3, 224, 224, device='meta'))
    assert features.shape == (2, width)
    assert backbone.num_features == width
    assert tuple(reached) == sites


def test_timm_options_pass_through():
    backbone = build_on_meta({'type': 'TimmBackbone', 'name': 'deit_small_patch16_224', 'drop_path_rate': 0.1})
    assert backbone.blocks[-1].drop_path1.drop_prob == pytest.approx(0.1)


@pytest.mark.parametrize(
    ('kwargs', 'says'),
    [
        ({'name': 'resnet81'}, 'resnet18'),
        ({'name': 'resnet18.no_such_tag'}, 'resnet18.tv_in1k'),
        ({'name': 'resnet18', 'drop_pth_rate': 0.1}, 'drop_pth_rate'),
        ({'name': 'resnet18', 'pretrained': True, 'checkpoint': 'x.pth'}, 'not both'),
        ({'name': 'resnet18', 'checkpoint': 'no/such.pth'}, 'no/such.pth'),
    ],
)
def test_timm_errors_say_what_to_do(kwargs, says):
    with pytest.raises(InputError, match=says) as caught:
        timm_backbone(**kwargs)
    assert '\n' not in str(caught.value)


def test_timm_failed_download_asks_for_a_file(tmp_path):
    nowhere = {'hf_hub_id': None, 'url': (tmp_path / 'absent.pth').as_uri()}
    with pytest.raises(InputError, match=r"checkpoint='FILE'"):
        timm_backbone('resnet18', pretrained=True, pretrained_cfg_overlay=nowhere, cache_dir=tmp_path)


def test_timm_pretrained_loads_what_timm_loads(tmp_path):
    whole = timm.create_model('test_resnet', num_classes=1000)
    torch.save(whole.state_dict(), tmp_path / 'w.pth')
    backbone = timm_backbone('test_resnet', pretrained=True, pretrained_cfg_overlay={'file': str(tmp_path / 'w.pth')})
    assert torch.equal(backbone.state_dict()['conv1.0.weight'], whole.state_dict()['conv1.0.weight'])


# --- torchvision ---


@pytest.mark.parametrize(
    ('name', 'width'),
    [
        ('resnet50', 2048),
        ('vgg11', 4096),
        ('mobilenet_v3_small', 1024),
        ('densenet121', 1024),
        ('convnext_tiny', 768),
        ('squeezenet1_1', 512),
        ('vit_b_16', 768),
        ('swin_t', 768),
        ('googlenet', 1024),
    ],
)
def test_torchvision_features_are_what_the_last_layer_reads(name, width):
    backbone = build_on_meta({'type': 'TorchvisionBackbone', 'name': name})
    features = backbone(torch.empty(2, 3, 224, 224, device='meta'))
    assert features.shape == (2, width)
    assert backbone.num_features == width


@pytest.mark.parametrize(
    ('kwargs', 'says'),
    [
        ({'name': 'resnet81'}, "did you mean 'resnet18'"),
        ({'name': 'fcn_resnet50'}, 'no classifier'),
        ({'name': 'resnet18', 'weights': 'IMAGENET1K'}, "did you mean 'IMAGENET1K_V1'"),
        ({'name': 'resnet18', 'widht_per_group': 4}, 'widht_per_group'),
        ({'name': 'resnet18', 'weights': 'DEFAULT', 'checkpoint': 'x.pth'}, 'not both'),
    ],
)
def test_torchvision_errors_say_what_to_do(kwargs, says):
    with pytest.raises(InputError, match=says) as caught:
        torchvision_backbone(**kwargs)
    assert '\n' not in str(caught.value)


def test_torchvision_failed_download_asks_for_a_file(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', refuse)
    with pytest.raises(InputError, match=r"no network.*resnet18-\w+\.pth.*checkpoint='FILE'"):
        torchvision_backbone('resnet18', weights='IMAGENET1K_V1')


def test_torchvision_weights_are_torchvisions(tmp_path, monkeypatch):
    whole = torchvision.models.resnet18()
    monkeypatch.setattr(
        torchvision.models.ResNet18_Weights, 'get_state_dict', lambda *args, **kwargs: whole.state_dict()
    )
    backbone = torchvision_backbone('resnet18', weights='IMAGENET1K_V1')
    assert_same_features(backbone, whole)


def test_no_weights_are_read_on_the_meta_device():
    with torch.device('meta'):
        torchvision_backbone('resnet18', weights='IMAGENET1K_V1')
        torchvision_backbone('resnet18', checkpoint='absent.pth')
        backbone = timm_backbone('resnet18', pretrained=True)
    assert all(p.is_meta for p in backbone.parameters())


# --- weights from a local file, for both libraries ---


def assert_same_features(backbone, whole):
    """Check that `backbone` followed by the classifier of `whole` equals `whole`."""
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(whole.fc(backbone.eval()(x)), whole.eval()(x))


BOTH = pytest.mark.parametrize(
    ('build', 'make'),
    [
        (timm_backbone, lambda: timm.create_model('resnet18', num_classes=7)),
        (torchvision_backbone, lambda: torchvision.models.resnet18(num_classes=7)),
    ],
    ids=['timm', 'torchvision'],
)


@BOTH
@pytest.mark.parametrize('layout', ['plain', 'no_classifier', 'nested', 'wrapped', 'own_run', 'old'])
def test_checkpoint_layouts(build, make, layout, tmp_path):
    torch.manual_seed(0)
    whole = make()
    state = whole.state_dict()
    saved = {
        'plain': state,
        'no_classifier': OrderedDict((k, v) for k, v in state.items() if not k.startswith('fc.')),
        'nested': {'epoch': 3, 'state_dict': state},
        'wrapped': {'model': {f'module.{k}': v for k, v in state.items()}},
        'own_run': {'state_dict': {f'backbone.{k}': v for k, v in state.items()} | {'head.fc.weight': torch.zeros(7)}},
        'old': {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')},
    }[layout]
    torch.save(saved, tmp_path / 'w.pth')
    assert_same_features(build('resnet18', checkpoint=tmp_path / 'w.pth'), whole)


@BOTH
@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda s: s.pop('layer3.0.conv1.weight'), r'lacks layer3\.0\.conv1\.weight$'),
        (lambda s: s.update(extra=torch.zeros(1)), 'has unknown extra$'),
        (lambda s: s.update({'bn1.weight': torch.zeros(3)}), r'has other shapes of bn1\.weight$'),
        (lambda s: s.clear(), r'lacks conv1\.weight, bn1\.weight, bn1\.bias and \d+ more$'),
    ],
    ids=['lacking', 'unknown', 'shape', 'empty'],
)
def test_other_key_differences_are_named(build, make, change, says, tmp_path):
    state = make().state_dict()
    change(state)
    torch.save(dict(state), tmp_path / 'w.pth')
    with pytest.raises(InputError, match=says):
        build('resnet18', checkpoint=tmp_path / 'w.pth')


class Surprise:
    """An object that only an unsafe unpickler can restore."""


@pytest.mark.parametrize('content', ['text', 'object', 'tensor', 'empty', 'safetensors'])
def test_a_file_that_holds_no_weights(content, tmp_path):
    path = tmp_path / ('w.safetensors' if content == 'safetensors' else 'w.pth')
    if content in ('object', 'tensor'):
        torch.save(Surprise() if content == 'object' else torch.zeros(3), path)
    else:
        path.write_bytes(b'' if content == 'empty' else b'not weights')
    with pytest.raises(InputError, match='not a file of plain tensors'):
        torchvision_backbone('resnet18', checkpoint=path)
