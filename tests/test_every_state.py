"""All state of registered classes is in their `state_dict`, and so in checkpoints.

Every class is trained for some steps, its `state_dict` is loaded into a new copy, and both continue: they must stay
equal bit for bit, which fails if state is kept elsewhere.
"""

import pytest
import torch
from algorithm_cases import ALGORITHMS
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from test_every_policy import CASES

from openmix.engine.amp import AutocastOptimWrapper
from openmix.engine.seeding import step_seed
from openmix.models.classifier import MixClassifier
from openmix.registry import LOSSES, MODELS, OPTIM_WRAPPERS

for registry, name in ((LOSSES, 'mix_ce'), (MODELS, 'ThinResNet'), (OPTIM_WRAPPERS, 'AutocastOptimWrapper')):
    registry.get(name)  # the first look-up imports all

# One small setting of every backbone.
BACKBONES = {
    'ThinResNet': {'depth': 8, 'width': 4},
    'CIFARResNet': {'depth': 18},
    'CIFARResNeXt': {},
    'WideResNet': {'depth': 10, 'widen_factor': 1},
    'TimmBackbone': {'name': 'resnet18'},
    'TorchvisionBackbone': {'name': 'resnet18'},
}
SMALL = {'type': 'ThinResNet', **BACKBONES['ThinResNet']}
# Parts of what is tested above or below, and of the algorithms of tests/algorithm_cases.py, whose state is tested in
# tests/test_every_algorithm.py.
INSIDE = ('ImagePreprocessor', 'MixBlock', 'Teacher', 'ExponentialMovingAverage')
OF_ALGORITHMS = ('RegressionHead', 'MixedBranch', 'DetectionPreprocessor', 'SourceHead', 'ClusterBank')
HEADS = ('LinearHead', 'DMHead')
AUGMENT = [{'type': 'BatchRandomCrop', 'padding': 2, 'mode': 'zero'}, {'type': 'BatchRandomFlip'}]


def build(seed=0, backbone=None, policy=None, head=None, wrapper=OptimWrapper):
    init_default_scope('openmix')
    torch.manual_seed(seed)
    model = MixClassifier(
        backbone=dict(backbone or SMALL),
        head=dict(head or {'type': 'LinearHead'}, num_classes=5),
        policy=dict(policy or {'type': 'Mixup'}),
        data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.25,) * 3, augment=AUGMENT),
    )
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    optimizer.register_step_post_hook(lambda *_: model.after_step())
    return model.train(), wrapper(optimizer=optimizer)


def train(model, optim, first, last):
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for iteration in range(first, last):
        torch.manual_seed(step_seed(0, iteration, 0))
        batch = {'inputs': images, 'labels': torch.arange(4), 'ids': torch.arange(4)}
        model.train_step(batch, optim)


def check_going_on(**parts):
    alone, its_optim = build(**parts)
    train(alone, its_optim, 0, 4)
    first, first_optim = build(**parts)
    train(first, first_optim, 0, 2)
    resumed, resumed_optim = build(seed=1, **parts)
    resumed.load_state_dict(first.state_dict())
    resumed_optim.load_state_dict(first_optim.state_dict())
    train(resumed, resumed_optim, 2, 4)
    wanted = alone.state_dict()
    assert wanted.keys() == resumed.state_dict().keys()
    for key, value in resumed.state_dict().items():
        assert torch.equal(value, wanted[key]), key


@pytest.mark.parametrize(('name', 'case'), CASES)
def test_policy(name, case):
    check_going_on(policy={'type': name, **case.trained}, backbone=case.backbone(16))


@pytest.mark.slow
@pytest.mark.parametrize('name', BACKBONES)
def test_backbone(name):
    check_going_on(backbone={'type': name, **BACKBONES[name]})


@pytest.mark.parametrize('name', HEADS)
def test_head(name):
    check_going_on(head={'type': name})


@pytest.mark.parametrize('name', sorted(LOSSES.module_dict))
def test_loss(name):
    check_going_on(head={'type': 'LinearHead', 'loss': {'type': name}})


@pytest.mark.parametrize('wrapper', [OptimWrapper, AutocastOptimWrapper])
def test_optim_wrapper(wrapper):
    check_going_on(wrapper=wrapper)


def test_nothing_registered_is_missing():
    tested = {*BACKBONES, *HEADS, *INSIDE, *OF_ALGORITHMS, *ALGORITHMS}
    assert {name for name, kind in MODELS.module_dict.items() if kind.__module__.startswith('openmix.')} <= tested
    assert set(OPTIM_WRAPPERS.module_dict) <= {'AutocastOptimWrapper'}
