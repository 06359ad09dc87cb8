"""Test tools/publish_model.py: weights of a checkpoint with OpenMix's names or those of the backbone's library."""

import hashlib
import json

import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from openmix.algorithm import Network
from openmix.config import load_config
from openmix.engine.checkpoint import load_weights
from openmix.engine.launch import prepare
from openmix.errors import InputError
from openmix.models.backbones import timm_backbone
from openmix.models.heads import LinearHead
from openmix.models.originals import Original
from openmix.registry import MODELS

COMMAND = 'publish_model.py'


def checkpoint(folder, ema=False):
    """Make a checkpoint like a training; with a moving average, it also contains the raw weights."""
    torch.manual_seed(0)
    raw, average = nn.Linear(4, 3).state_dict(), nn.Linear(4, 3).state_dict()
    meta = {
        'epoch': 3,
        # Written before the fourth epoch is counted.
        'iter': 92,
        'batches_per_epoch': 23,
        'seed': 5,
        'recipe': 'abc',
        'mmengine_version': '0.10.7c0e121f',
        'cfg': "root = '/home/me'",
        'experiment_name': 'mine',
    }
    found = {'meta': meta, 'state_dict': raw, 'optimizer': {'state': torch.zeros(1000)}, 'message_hub': {}}
    if ema:
        found |= {'state_dict': average, 'ema_state_dict': {f'module.{key}': value for key, value in raw.items()}}
    torch.save(found, folder / 'epoch_3.pth')
    return folder / 'epoch_3.pth', raw, average


def test_a_memory_of_training_images_is_not_published(call, tmp_path):
    path, raw, _ = checkpoint(tmp_path)
    found = torch.load(path, weights_only=True)
    found['state_dict']['labels.rows'] = torch.zeros(50, dtype=torch.int64)
    found['meta']['memories'] = ['labels.rows']
    torch.save(found, path)
    code, _, err = call(COMMAND, path, '--out', tmp_path / 'zoo')
    assert code == 0, err
    (published,) = (tmp_path / 'zoo').iterdir()
    assert torch.load(published, weights_only=True)['state_dict'].keys() == raw.keys()


@pytest.mark.parametrize(('options', 'has_average'), [([], False), ([], True), (['--ema'], True)])
def test_only_weights_and_meta_are_left(call, tmp_path, options, has_average):
    path, raw, average = checkpoint(tmp_path, has_average)
    code, said, err = call(COMMAND, path, *options, '--out', tmp_path / 'zoo')
    assert code == 0, err
    (published,) = (tmp_path / 'zoo').iterdir()
    assert said.strip() == str(published)
    assert published.name == f'epoch_3-{hashlib.sha256(published.read_bytes()).hexdigest()[:8]}.pth'
    found = torch.load(published, weights_only=True)
    assert found.keys() == {'meta', 'state_dict'}
    kind = 'moving average' if options else 'raw'
    assert {key: found['meta'][key] for key in ('epoch', 'seed', 'recipe', 'weights')} == {
        'epoch': 4,
        'seed': 5,
        'recipe': 'abc',
        'weights': kind,
    }
    assert not {'cfg', 'experiment_name', 'mmengine_version'} & found['meta'].keys()
    model = nn.Linear(4, 3)
    load_weights(model, published)
    assert torch.equal(model.weight, (average if options else raw)['weight'])


def test_the_same_weights_have_the_same_name(call, tmp_path):
    path, *_ = checkpoint(tmp_path)
    (tmp_path / 'elsewhere').mkdir()
    (_, here, _), (_, there, _) = call(COMMAND, path), call(COMMAND, path, '--out', tmp_path / 'elsewhere')
    assert here.rpartition('/')[2] == there.rpartition('/')[2] != ''


@pytest.mark.parametrize(
    ('name', 'options', 'line'),
    [('gone.pth', [], "no checkpoint '"), ('epoch_3.pth', ['--ema'], 'holds no moving average')],
)
def test_bad_input_is_one_line(call, tmp_path, name, options, line):
    checkpoint(tmp_path)
    code, _, err = call(COMMAND, tmp_path / name, *options)
    assert (code, len(err.splitlines())) == (2, 1)
    assert line in err


TYPES = {'timm': 'TimmBackbone', 'torchvision': 'TorchvisionBackbone'}
slow = pytest.mark.slow
CASES = [
    ('timm', 'name="test_resnet"', False),
    ('timm', 'name="test_resnet"', True),
    ('timm', 'name="test_vit", img_size=16', False),
    pytest.param('timm', 'name="mobilenetv3_small_050"', False, marks=slow),
    pytest.param('torchvision', 'name="resnet18"', True, marks=slow),
    ('torchvision', 'name="shufflenet_v2_x0_5"', False),
    pytest.param('torchvision', 'name="googlenet"', False, marks=slow),  # it has classifiers at its sides
]


def recipe_of(folder, backbone, policy='type="NoMix"'):
    """Write a user's recipe on digits."""
    path = folder / 'mine.py'
    path.write_text(
        "_base_ = 'configs/classification/digits/resnet20.py'\n"
        f'model = dict(backbone=dict(_delete_=True, {backbone}), policy=dict(_delete_=True, {policy}))\n'
    )
    return path


def trained(folder, recipe):
    """Make a recipe's model with random weights and statistics, and its checkpoint with a moving average."""
    torch.manual_seed(0)
    model = MODELS.build(prepare(load_config(recipe)).model)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(0.05 * torch.rand_like(value))
    average = {key: value.clone() for key, value in model.state_dict().items()}
    average['head.fc.bias'] += 1
    raw = {f'module.{key}': value for key, value in model.state_dict().items()}
    meta = {'dataset_meta': {'classes': [str(digit) for digit in range(10)]}, 'recipe': 'abc'}
    torch.save({'meta': meta, 'state_dict': average, 'ema_state_dict': raw}, folder / 'epoch_1.pth')
    return model.eval(), folder / 'epoch_1.pth'


def read(library, file):
    """Load the file into a model of the library; return the model and the file's description."""
    if library == 'timm':
        with safe_open(file, 'pt') as opened:
            about = json.loads(opened.metadata()['openmix'])
        return timm.create_model(about['model'], num_classes=10, checkpoint_path=str(file), **about['options']), about
    found = torch.load(file, weights_only=True)
    about = found['meta']
    model = torchvision.models.get_model(about['model'], num_classes=10, **about['options'])
    model.load_state_dict(found['state_dict'])
    return model, about


@pytest.mark.parametrize(('library', 'backbone', 'ema'), CASES)
def test_the_library_itself_loads_what_is_published(call, tmp_path, library, backbone, ema):
    recipe = recipe_of(tmp_path, f'type="{TYPES[library]}", {backbone}')
    model, checkpoint = trained(tmp_path, recipe)
    x = torch.rand(2, 3, 16, 16)
    options = ['--ema'] if ema else []
    code, said, err = call(COMMAND, checkpoint, '--format', library, '--config', recipe, '--out', tmp_path, *options)
    assert code == 0, err
    theirs, about = read(library, said.strip())
    with torch.no_grad():
        wanted = model(x, mode='tensor') + ema
        torch.testing.assert_close(theirs.eval()(x), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert about['dataset_meta']['classes'] == [str(digit) for digit in range(10)]
    assert (about['library'], about['recipe'], about['num_classes']) == (library, 'abc', 10)
    assert about['weights'] == ('moving average' if ema else 'raw')
    assert len(about['mean']) == len(about['std']) == 3
    assert 'openmix' in about


def test_a_last_layer_that_is_a_convolution_takes_the_head():
    original = Original.of('timm', {'type': 'TimmBackbone', 'name': 'dla46_c', 'pretrained': True}, 10)
    backbone, head = timm_backbone('dla46_c').eval(), LinearHead(256, 10, init_std=0.1)
    weights = original.weights(backbone, head)
    assert weights['fc.weight'].shape == (10, 256, 1, 1)
    original.check(weights, lambda x: head(backbone(x)), (32, 32))
    with pytest.raises(InputError, match='logits of timm'):
        original.check(weights, lambda x: head(backbone(x)) + 1, (32, 32))


def test_of_a_learned_policy_the_network_that_is_reported_is_published(call, tmp_path):
    recipe = recipe_of(tmp_path, 'type="TimmBackbone", name="test_resnet"', 'type="AutoMix", site="layer3"')
    model, checkpoint = trained(tmp_path, recipe)
    code, said, err = call(COMMAND, checkpoint, '--format', 'timm', '--config', recipe)
    assert code == 0, err
    theirs, _ = read('timm', said.strip())
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(x), model(x, mode='tensor'))
        assert not torch.allclose(theirs(x), model.head(model.backbone(x)))


def test_safetensors_have_our_names_and_say_what_is_known(call, tmp_path):
    path, raw, _ = checkpoint(tmp_path)
    code, said, err = call(COMMAND, path, '--format', 'safetensors')
    assert code == 0, err
    found = load_file(said.strip())
    assert found.keys() == raw.keys()
    assert torch.equal(found['weight'], raw['weight'])
    with safe_open(said.strip(), 'pt') as opened:
        assert json.loads(opened.metadata()['openmix'])['recipe'] == 'abc'
    assert call(COMMAND, path, '--format', 'safetensors')[1] == said
    model = nn.Linear(4, 3)
    load_weights(model, said.strip())


@pytest.mark.parametrize(
    ('backbone', 'options', 'line'),
    [
        ('type="ThinResNet", depth=8, width=4', ['--format', 'timm'], 'ThinResNet is no model of timm'),
        ('type="TimmBackbone", name="test_resnet"', ['--format', 'torchvision'], 'is no model of torchvision'),
        (
            'type="TimmBackbone", name="deit_tiny_distilled_patch16_224", img_size=16',
            ['--format', 'timm'],
            "timm's deit_tiny_distilled_patch16_224 is not this",
        ),
        ('type="TimmBackbone", name="test_resnet"', ['--format', 'openmix'], 'takes no --config'),
        ('type="TimmBackbone", name="test_resnet"', ['--format', 'torchvision'], 'publish it with --format timm or'),
    ],
)
def test_what_has_no_original_is_refused_and_nothing_is_written(call, tmp_path, backbone, options, line):
    recipe = recipe_of(tmp_path, backbone)
    _, path = trained(tmp_path, recipe)
    code, _, err = call(COMMAND, path, *options, '--config', recipe, '--out', tmp_path / 'zoo')
    assert (code, len(err.splitlines())) == (2, 1), err
    assert line in err
    assert not (tmp_path / 'zoo').exists()


def test_the_recipe_is_asked_for(call, tmp_path):
    path, *_ = checkpoint(tmp_path)
    code, _, err = call(COMMAND, path, '--format', 'timm')
    assert (code, err) == (2, 'error: --format timm needs --config: the recipe says which model it is\n')


def test_other_logits_are_refused_and_no_file_is_left(call, tmp_path, monkeypatch):
    """A policy of one's own may report something else than a backbone and a head."""

    class Twice(Network):
        def forward(self, x):
            return 2 * super().forward(x)

    recipe = recipe_of(tmp_path, 'type="TimmBackbone", name="test_resnet"')
    model, path = trained(tmp_path, recipe)
    monkeypatch.setattr(type(model.policy), 'networks', lambda _, online: {'': Twice(online.backbone, online.head)})
    code, _, err = call(COMMAND, path, '--format', 'timm', '--config', recipe, '--out', tmp_path / 'zoo')
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "the logits of timm's test_resnet differ from the run's by" in err
    assert list((tmp_path / 'zoo').iterdir()) == []


@pytest.mark.parametrize(
    ('content', 'line'),
    [
        ({'state_dict': {'w': 1}}, "holds a int under 'w'"),
        ({'state_dict': {}}, 'holds no weights'),
        ({'state_dict': {'w': torch.tensor([1.0, float('nan')])}}, "damaged: 'w' in it is not finite"),
        ({'state_dict': {'w': torch.eye(2).to_sparse()}}, 'sparse_coo cpu tensor, not plain numbers'),
        ({'state_dict': {'w': torch.ones(1)}, 'meta': [1]}, 'its meta is a list'),
        ({'state_dict': {'w': torch.ones(1)}, 'meta': {'best': torch.ones(1)}}, 'its meta holds more than numbers'),
    ],
)
def test_content_of_other_kinds_is_one_line(call, tmp_path, content, line):
    torch.save(content, tmp_path / 'epoch_1.pth')
    code, _, err = call(COMMAND, tmp_path / 'epoch_1.pth', '--out', tmp_path / 'zoo')
    assert (code, len(err.splitlines())) == (2, 1), err
    assert line in err
    assert not (tmp_path / 'zoo').exists()


def test_a_place_that_cannot_be_written_is_one_line(call, tmp_path):
    path, *_ = checkpoint(tmp_path)
    code, _, err = call(COMMAND, path, '--out', path)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert 'cannot write' in err
