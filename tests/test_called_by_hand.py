"""Policies, losses and models called with wrong arguments give one line that shows the right call."""

import pytest
import torch
from registered import registered
from torch import nn

from openmix import losses
from openmix.check import check_recipe
from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.errors import InputError
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.models.classifier import MixClassifier
from openmix.registry import LOSSES, MIXUPS, MODELS

MIXUPS.import_from_location()
LOSSES.import_from_location()
POLICIES = sorted(name for name, cls in registered(MIXUPS).items() if issubclass(cls, MixPolicy))
# What a policy cannot be built without.
NEEDED = {
    'AttentiveMix': {'teacher': nn.Sequential(nn.AvgPool2d(2)), 'site': '0'},
    'PairedBy': {'policy': {'type': 'Mixup'}, 'by': 'same_class'},
    'OneOf': {'policies': [{'type': 'NoMix'}]},
    'Remix': {'policy': {'type': 'Mixup'}, 'class_counts': [4, 3, 2, 1]},
    'SUMix': {'policy': {'type': 'Mixup'}},
    'SuperMix': {'teacher': nn.Flatten()},
    'Until': {'policy': {'type': 'NoMix'}, 'epoch': 1},
}
images, labels = torch.rand(4, 3, 8, 8), torch.arange(4)


def built(name):
    return MIXUPS.build({'type': name, **NEEDED.get(name, {})})


@pytest.mark.parametrize('name', POLICIES)
@pytest.mark.parametrize(
    ('args', 'told'),
    [
        ((images, labels), [r'second argument is a MixContext, got a int64 tensor of \(4,\)', 'mixed, mix = policy']),
        ((images, 0.5), ['second argument is a MixContext, got a float']),
        (((images * 255).byte(),), ['must be floating, got a uint8 tensor', r'images|x\.float\(\) / 255']),
        (([torch.rand(3, 8, 8), torch.rand(3, 9, 8)],), [r'sizes that differ: \(3, 8, 8\) and \(3, 9, 8\)']),
        (([torch.rand(3, 8, 8)] * 2,), ['must be one tensor, got 2 tensors']),
        ((None,), ['must be a tensor, got a NoneType']),
        ((images.numpy(),), ['must be a tensor, got a ndarray']),
        ((images[:0],), ['at least one sample']),
        ((torch.rand(4),), [r'must be \(N, \.\.\.\)']),
        ((images, None, torch.tensor([0, 4])), [r'pairs must be in \[0, 3\], got 0 to 4']),
        ((images, None, torch.tensor([-1, 2])), [r'pairs must be in \[0, 3\]']),
        ((images, None, [1, 2]), [r'pairs must be \(N,\) int64, got a list']),
        ((images, None, torch.arange(4.0)), [r'pairs must be \(N,\) int64, got a float32 tensor']),
        ((images, None, torch.arange(9) % 4), ['at most 4, the batch; got 9']),
        ((images, None, torch.arange(4, device='meta')), ['pairs must be on cpu']),
    ],
)
def test_a_policy_says_how_it_is_called(name, args, told):
    for text in told:
        with pytest.raises(InputError, match=text) as caught:
            built(name)(*args)
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('args', 'given', 'told'),
    [
        ((images, labels[:3]), {}, '3 labels do not belong to 4 images'),
        ((images.byte(),), {}, 'MixContext: x must be floating'),
        ((images, labels.int()), {}, r'int64, got a int32 tensor of \(4,\); call labels\.long\(\)'),
        ((images, labels.float()), {}, r'\(M,\) int64 or \(M, C\)'),
        ((images, labels - 1), {}, 'must not be negative, got -1'),
        ((images, [0, 1, 2, 3]), {}, 'got a list'),
        ((images,), {'mean': (0.5, 0.5, 0.5)}, 'mean must be a tensor of one number a channel, got a tuple'),
    ],
)
def test_a_probe_says_what_it_holds(args, given, told):
    with pytest.raises(InputError, match=told):
        MixContext(*args, **given)


logits, mix = torch.zeros(4, 4), Mix.none(4)


@pytest.mark.parametrize('name', sorted(registered(LOSSES)))
@pytest.mark.parametrize(
    ('args', 'told'),
    [
        ((logits, labels + 1, mix), r'labels must be in \[0, 3\], got 4'),
        ((logits, labels - 1, mix), r'labels must be in \[0, 3\], got -1'),
        ((logits, labels, labels), r'third argument is the Mix .* got a int64 tensor'),
        ((logits, labels, 0.3), r'third argument is the Mix .* got a float'),
        ((logits, labels.int(), mix), r'labels must be int64'),
        ((logits, labels.float(), mix), r'labels must be \(M,\) int64'),
        ((logits, torch.ones(4, 3) / 3, mix), '3 classes do not fit logits of 4'),
        ((logits[0], labels, mix), r'logits must be \(N, \.\.\.\)'),
        ((logits[..., None], labels, mix), r'logits must be \(N, C\)'),
        ((logits.long(), labels, mix), 'logits must be floating'),
        ((logits[:3], labels, mix), 'the mix is of 4 samples, the logits are of 3'),
        ((logits, labels[:3], Mix.none(4)), 'labels are not those of the batch|views for each of 3 labels'),
        ((logits, labels.to('meta'), mix), 'labels are on meta, logits on cpu'),
    ],
)
def test_a_loss_says_what_it_takes(name, args, told):
    with pytest.raises(InputError, match=told) as caught:
        getattr(losses, name)(*args)
    assert '\n' not in str(caught.value)


DIGITS = 'classification/digits/resnet20.py'


@pytest.fixture
def register():
    """Register modules like a user, and remove them afterwards."""
    before = dict(MODELS.module_dict)
    yield MODELS.register_module(force=True)
    MODELS.module_dict.clear()
    MODELS.module_dict.update(before)


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class Told(Narrow):
    num_features = 5


class Pyramid(Told):
    def forward(self, x):
        return super().forward(x), super().forward(x)


class Named(Told):
    def forward(self, x):
        return {'features': super().forward(x)}


class Maps(Told):
    def forward(self, x):
        return self.conv(x)


class Wider(Told):
    num_features = 7


class Worded(Told):
    num_features = '5'


@pytest.mark.parametrize(
    ('backbone', 'told'),
    [
        (Narrow, r'Narrow has no num_features; set self\.num_features = D in its __init__'),
        (Worded, r"Worded: num_features must be an integer >= 1, got '5'"),
        (
            Pyramid,
            r'model\.head: LinearHead takes \(N, 5\) pooled features, got a tuple; return them from the',
        ),
        (Named, r'model\.head: .* got a dict; return them'),
        (Maps, r'model\.head: .* got a float32 tensor of \(64, 5, 14, 14\); return them'),
        (Wider, r'LinearHead takes \(N, 7\) pooled features, got a float32 tensor of \(64, 5\)'),
    ],
)
def test_a_backbone_that_misses_something_is_one_line(backbone, told, register):
    register(backbone)
    with pytest.raises(InputError, match=told) as caught:
        prepare(load_config(DIGITS, {'model.backbone': {'type': backbone.__name__, '_delete_': True}}))
    assert '\n' not in str(caught.value)


def test_a_backbone_that_says_its_width_trains(register):
    register(Told)
    prepare(load_config(DIGITS, {'model.backbone': {'type': 'Told', '_delete_': True}}))


def test_a_backbone_alone_is_no_model():
    cfg = load_config(DIGITS, {'model': {'type': 'ThinResNet', 'depth': 8, '_delete_': True}})
    check_recipe(cfg)
    with pytest.raises(InputError, match='ThinResNet is no model that can be trained; give it to a MixClassifier'):
        prepare(cfg)


def classifier():
    return MixClassifier(
        backbone={'type': 'ThinResNet', 'depth': 8, 'width': 2},
        head={'type': 'LinearHead', 'num_classes': 4},
        policy={'type': 'NoMix'},
        data_preprocessor={'type': 'ImagePreprocessor', 'mean': (0.5,) * 3, 'std': (0.5,) * 3},
    )


@pytest.mark.parametrize(('wrong', 'told'), [(4, r'\[0, 3\], got 4'), (-1, 'got -1')])
def test_a_label_that_is_no_class_is_found_before_the_device(wrong, told):
    batch = {'inputs': torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 'labels': torch.tensor([0, wrong])}
    with pytest.raises(InputError, match=f'the data: labels must be in {told}' if wrong > 0 else told):
        classifier().data_preprocessor(batch, training=True)


def test_a_policy_mixes_in_evaluation_mode_too():
    """As its documentation says."""
    torch.manual_seed(0)
    policy = MIXUPS.build({'type': 'Mixup'}).eval()
    assert not torch.equal(policy(images)[0], images)
