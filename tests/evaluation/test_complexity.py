"""Compare parameters and multiply-adds with published numbers and with hand calculations."""

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from openmix.config import load_config
from openmix.engine.launch import fill_from_data
from openmix.errors import InputError
from openmix.evaluation.complexity import count
from openmix.models.heads import LinearHead
from openmix.registry import MODELS

IMAGENET = 'classification/imagenet/'
# Millions of parameters and billions of multiply-adds at 224 px: He et al., Xie et al., Touvron et al., Liu et al.,
# Dosovitskiy et al.; torchvision's and timm's lists where a paper prints fewer digits.
PUBLISHED = {
    f'{IMAGENET}resnet18_100ep.py': (11.69, 1.82),
    f'{IMAGENET}resnet34_100ep.py': (21.80, 3.67),
    f'{IMAGENET}resnet50_100ep.py': (25.56, 4.11),
    f'{IMAGENET}resnet50_rsb_a3.py': (25.56, 4.11),  # tested at 224 px, trained at 160
    f'{IMAGENET}resnet101_100ep.py': (44.55, 7.83),
    f'{IMAGENET}resnext101_100ep.py': (44.18, 8.01),
    f'{IMAGENET}deit_small.py': (22.05, 4.6),
    f'{IMAGENET}swin_tiny.py': (28.29, 4.5),
    'resnext50_32x4d': (25.03, 4.26),
    'vit_b_16': (86.57, 17.6),  # torch's own attention
}


def parts_of(name, device='meta'):
    """Build the backbone and head of a recipe or a torchvision model, with 1,000 classes."""
    init_default_scope('openmix')
    with torch.device(device):
        if name.startswith(IMAGENET):
            network = MODELS.build(fill_from_data(load_config(name)).model).network('a count')
            return network.backbone, network.head
        backbone = MODELS.build(dict(type='TorchvisionBackbone', name=name))
        return backbone, LinearHead(backbone.num_features, 1000)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published(name):
    millions, billions = PUBLISHED[name]
    backbone, head = parts_of(name)
    found = count(backbone, head, (224, 224))
    assert found.parameters / 1e6 == pytest.approx(millions, abs=0.006)
    assert found.multiply_adds / 1e9 == pytest.approx(billions, rel=0.02)
    assert {p.device.type for p in backbone.parameters()} == {'meta'}


@pytest.mark.parametrize('depth', [1, 2, 3])
@pytest.mark.parametrize('name', ['resnet18_100ep', 'swin_tiny', 'deit_small'])
def test_stages_add_up(name, depth):
    backbone, head = parts_of(f'{IMAGENET}{name}.py')
    found = count(backbone, head, (224, 224), depth)
    assert sum(stage.parameters for stage in found.stages) == found.parameters
    assert sum(stage.multiply_adds for stage in found.stages) == found.multiply_adds
    assert max(stage.name.count('.') for stage in found.stages) == depth
    assert found.stages[-1].name == 'head'
    assert found.stages[-1].output == (1000,)


def test_stages_of_a_resnet_by_hand():
    """ResNet-18's first stage at 224 px is four 3x3 convolutions of 64 channels on 56 x 56."""
    stages = {stage.name: stage for stage in count(*parts_of(f'{IMAGENET}resnet18_100ep.py'), (224, 224)).stages}
    stage = stages['backbone.layer1']
    assert stage.output == (64, 56, 56)
    assert stage.multiply_adds == 4 * 56 * 56 * 9 * 64 * 64
    assert stage.parameters == 4 * (9 * 64 * 64 + 2 * 64)
    assert stages['head'].multiply_adds == 512 * 1000
    assert stages['head'].parameters == 512 * 1000 + 1000


def vit_by_hand(d):
    """12 blocks of 12 N d^2 in the linear layers and 2 N^2 d in attention, N = 197 tokens, width d."""
    n = 197
    return 12 * (12 * n * d * d + 2 * n * n * d) + 196 * 3 * 16 * 16 * d + d * 1000


def swin_by_hand(d):
    """Four stages of blocks on windows of 49 tokens, merged by four in between, from 56 x 56 tokens of width d."""
    n, total = 56 * 56, 56 * 56 * 3 * 4 * 4 * d
    for stage, blocks in enumerate((2, 2, 6, 2)):
        if stage:
            n, total = n // 4, total + (n // 4) * 4 * d * 2 * d
            d *= 2
        total += blocks * (12 * n * d * d + 2 * n * 49 * d)
    return total + d * 1000


@pytest.mark.parametrize('device', ['meta', 'cpu'])
@pytest.mark.parametrize(
    ('name', 'derived'),
    [
        (f'{IMAGENET}deit_small.py', vit_by_hand(384)),
        (f'{IMAGENET}swin_tiny.py', swin_by_hand(96)),
        ('vit_b_16', vit_by_hand(768)),
        ('swin_t', swin_by_hand(96)),
    ],
)
def test_attention_by_hand(name, derived, device):
    """Fused or not: one operator may be all of an attention on one device and not on another."""
    assert count(*parts_of(name, device), (224, 224)).multiply_adds == derived
    assert torch.backends.mha.get_fastpath_enabled()


def test_convolutions_by_hand_on_a_rectangle():
    """Every one as output places x kernel x channels, at sizes that stride 2 rounds up."""
    backbone = MODELS.build(dict(type='ThinResNet', depth=8, width=4))
    derived, h, w = 15 * 21 * 9 * 3 * 4, 15, 21
    for i, channels in enumerate((4, 8, 16)):
        before = channels // 2 if i else 4
        h, w = ((h + 1) // 2, (w + 1) // 2) if i else (h, w)
        derived += h * w * 9 * channels * (before + channels)
    assert count(backbone, LinearHead(16, 10), (15, 21)).multiply_adds == derived + 16 * 10


def test_hooks_and_mode_leave_no_trace():
    backbone, head = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), LinearHead(4, 2)
    count(backbone, head, (5, 5))
    assert not [module for module in backbone.modules() if module._forward_hooks or module._forward_pre_hooks]


@pytest.mark.parametrize(('shape', 'depth', 'line'), [((0, 5), 1, 'height'), ((5, 5), 0, 'depth must be >= 1')])
def test_bad_numbers_are_one_line(shape, depth, line):
    with pytest.raises(InputError, match=line):
        count(nn.Flatten(), LinearHead(75, 2), shape, depth)
