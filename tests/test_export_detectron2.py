"""Test tools/export_detectron2.py: names key by key, values, and what is refused."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest
import torch
import torchvision
from algorithm_cases import ALGORITHMS, write_boxes
from mmengine.registry import init_default_scope
from torch import nn

from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.backbone_export import detectron2_name
from openmix.registry import MODELS

COMMAND = 'export_detectron2.py'
OF_A_NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
# Blocks of each stage and convolutions of a block.
DEPTHS = {'resnet18': ((2, 2, 2, 2), 2), 'resnet50': ((3, 4, 6, 3), 3)}
# From detectron2's modules (BasicStem; BottleneckBlock) and torchvision's, written by hand.
PAIRS = {
    'conv1.weight': 'stem.conv1.weight',
    'bn1.weight': 'stem.conv1.norm.weight',
    'bn1.running_var': 'stem.conv1.norm.running_var',
    'layer1.0.conv1.weight': 'res2.0.conv1.weight',
    'layer1.0.bn1.bias': 'res2.0.conv1.norm.bias',
    'layer1.0.downsample.0.weight': 'res2.0.shortcut.weight',
    'layer1.0.downsample.1.running_mean': 'res2.0.shortcut.norm.running_mean',
    'layer2.3.bn3.weight': 'res3.3.conv3.norm.weight',
    'layer3.5.conv2.weight': 'res4.5.conv2.weight',
    'layer4.2.bn2.num_batches_tracked': 'res5.2.conv2.norm.num_batches_tracked',
}


def detectron2_keys(name):
    """The names of detectron2's ResNet, from its modules: a stem, and blocks whose convolutions own their norms."""
    stages, convolutions = DEPTHS[name]
    owners = ['stem.conv1']
    for stage, blocks in enumerate(stages, 2):
        for block in range(blocks):
            changes = block == 0 and (stage > 2 or convolutions == 3)
            parts = [f'conv{i}' for i in range(1, convolutions + 1)] + ['shortcut'] * changes
            owners += [f'res{stage}.{block}.{part}' for part in parts]
    return {f'{owner}.weight' for owner in owners} | {f'{owner}.norm.{key}' for owner in owners for key in OF_A_NORM}


def write_run(path, network, prefix='backbone.', **more):
    weights = {f'{prefix}{key}': value for key, value in network.state_dict().items() if not key.startswith('fc.')}
    torch.save({'state_dict': {**weights, 'head.fc.weight': torch.ones(2, 2)}, 'meta': {}, **more}, path)


def network(name, seed=0):
    """A ResNet of torchvision all of whose tensors are other ones."""
    torch.manual_seed(seed)
    model = torchvision.models.get_model(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for key in ('weight', 'bias', 'running_mean', 'running_var'):
                nn.init.uniform_(getattr(module, key).detach(), 0.5, 1.5)
    model.bn1.num_batches_tracked.fill_(7)
    return model


@pytest.mark.parametrize('name', DEPTHS)
def test_every_key_is_detectron2s_and_every_value_is_kept(call, tmp_path, name):
    model = network(name)
    write_run(tmp_path / 'run.pth', model)
    code, said, error = call(COMMAND, tmp_path / 'run.pth', '--out', tmp_path / 'new/r.pkl')
    assert code == 0, error
    # As detectron2 reads it.
    with open(tmp_path / 'new/r.pkl', 'rb') as file:
        data = pickle.load(file, encoding='latin1')
    assert data.keys() == {'model', '__author__', 'matching_heuristics'}
    assert data['matching_heuristics'] is True
    assert data['model'].keys() == detectron2_keys(name)
    assert said == f'{tmp_path}/new/r.pkl: {len(data["model"])} tensors\n'
    own = {key: value for key, value in model.state_dict().items() if not key.startswith('fc.')}
    assert len(own) == len(data['model'])
    for key, value in own.items():
        array = data['model'][detectron2_name(key)]
        assert type(array) is np.ndarray
        assert array.flags.writeable
        assert (array.dtype, array.shape) == (value.numpy().dtype, tuple(value.shape))
        assert np.array_equal(array, value.numpy())
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['new', 'r.pkl', 'run.pth']


def test_names_by_hand():
    assert {key: detectron2_name(key) for key in PAIRS} == PAIRS
    assert {*PAIRS.values()} <= detectron2_keys('resnet50')
    assert {*PAIRS} <= torchvision.models.resnet50().state_dict().keys()


def test_every_version_of_numpy_reads_it(call, tmp_path):
    """The file names numpy.ndarray and bytearray alone; numpy._core is in no NumPy before 1.26."""
    write_run(tmp_path / 'run.pth', network('resnet18'))
    assert call(COMMAND, tmp_path / 'run.pth', '--out', tmp_path / 'r.pkl')[0] == 0
    strings, named = [], set()
    for opcode, argument, _ in pickletools.genops((tmp_path / 'r.pkl').read_bytes()):
        if opcode.name == 'STACK_GLOBAL':
            named.add(tuple(strings[-2:]))
        if isinstance(argument, str):
            strings.append(argument)
    assert ('numpy', 'ndarray') in named
    assert {module for module, _ in named} <= {'numpy', 'builtins'}
    assert len(named) == 2


def test_torchvisions_names_load_into_its_model(call, tmp_path):
    model = network('resnet50')
    write_run(tmp_path / 'run.pth', model)
    assert call(COMMAND, tmp_path / 'run.pth', '--out', tmp_path / 'r.pth')[0] == 0
    fresh = torchvision.models.resnet50()
    missing, strange = fresh.load_state_dict(torch.load(tmp_path / 'r.pth', weights_only=True), strict=False)
    assert (missing, strange) == (['fc.weight', 'fc.bias'], [])
    for key, value in fresh.state_dict().items():
        assert key.startswith('fc.') or torch.equal(value, model.state_dict()[key]), key


def test_the_judged_backbone_is_taken_from_runs_and_other_files(call, tmp_path):
    """Of a detector; of a moving average; of a file without a prefix."""
    write_boxes(tmp_path / 'boxes')
    (tmp_path / 'recipe.py').write_text(ALGORITHMS['FasterRCNN'].text(tmp_path / 'images'))
    init_default_scope('openmix')
    detector = MODELS.build(launch.prepare(load_config(tmp_path / 'recipe.py')).model)
    torch.save({'state_dict': detector.state_dict(), 'meta': {}}, tmp_path / 'detector.pth')
    raw, average = network('resnet18'), network('resnet18', seed=1)
    both = {f'module.backbone.{key}': value for key, value in raw.state_dict().items() if not key.startswith('fc.')}
    write_run(tmp_path / 'average.pth', average, ema_state_dict=both)
    torch.save(raw.state_dict(), tmp_path / 'plain.pth')
    for name, wanted in (('detector', detector.backbone), ('average', average), ('plain', raw)):
        code, _, error = call(COMMAND, tmp_path / f'{name}.pth', '--out', tmp_path / 'r.pkl')
        assert code == 0, error
        found = pickle.loads((tmp_path / 'r.pkl').read_bytes())['model']
        # The detector's first stage is narrower than its stem.
        shortcut = {key.replace('res3.0', 'res2.0') for key in detectron2_keys('resnet18') if '3.0.shortcut' in key}
        assert found.keys() - detectron2_keys('resnet18') == (shortcut if name == 'detector' else set())
        assert detectron2_keys('resnet18') <= found.keys()
        for key, value in wanted.state_dict().items():
            assert key.startswith('fc.') or np.array_equal(found[detectron2_name(key)], value.numpy()), (name, key)


def small_stem(model):
    model.conv1 = nn.Conv2d(3, 64, 3, bias=False)


def three_stages(model):
    del model.layer4


def with_a_gate(model):
    model.layer1[0].gate = nn.Linear(1, 1)


def without_a_norm(model):
    del model.layer2[1].bn2


def not_finite(model):
    model.layer3[0].conv1.weight.data[0, 0, 0, 0] = float('nan')


def a_block_of_a_high_number(model):
    model.layer1.add_module('9' * 5000, model.layer1[1])


def narrow_norm(model):
    model.layer2[0].bn1.bias = nn.Parameter(torch.ones(7))


def fewer_inputs(model):
    model.layer2[1].conv1 = nn.Conv2d(64, 128, 3, bias=False)


def narrow_shortcut(model):
    model.layer3[0].downsample[0] = nn.Conv2d(3, 256, 1, bias=False)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (small_stem, "'conv1.weight' is of 3x3, not 7x7"),
        (three_stages, "its stages are not 'layer1' to 'layer4'"),
        (with_a_gate, "it has 'layer1.0.gate.weight'"),
        (without_a_norm, "it has no 'layer2.1.bn2.weight'"),
        (a_block_of_a_high_number, "it has no 'layer1.2.conv1.weight'"),
        (narrow_norm, "'layer2.0.bn1.bias' is (7,), and 128 channels enter it"),
        (fewer_inputs, "'layer2.1.conv1.weight' is (128, 64, 3, 3), and 128 channels enter it"),
        (narrow_shortcut, "'layer3.0.downsample.0.weight' is (256, 3, 1, 1), and 128 channels enter it"),
        (not_finite, "'layer3.0.conv1.weight' in it is not finite"),
    ],
)
def test_other_backbones_are_refused(call, tmp_path, change, told):
    model = network('resnet18')
    change(model)
    write_run(tmp_path / 'run.pth', model)
    for out in ('r.pkl', 'r.pth'):
        code, _, error = call(COMMAND, tmp_path / 'run.pth', '--out', tmp_path / out)
        assert code == 2
        assert told in error.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


def test_a_full_disk_is_one_line(nursery, tmp_path):
    write_run(tmp_path / 'run.pth', network('resnet18'))
    with nursery.on_a_full_disk(4096):
        for out in ('r.pkl', 'r.pth'):
            done = nursery.run([COMMAND, 'run.pth', '--out', out], cwd=tmp_path)
            assert (done.returncode, done.stderr.count('\n')) == (2, 1)
            assert f"cannot write '{out}': File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


def test_the_command_as_a_process(nursery, tmp_path):
    write_run(tmp_path / 'run.pth', network('resnet18'))
    for words, told in (
        (['none.pth', '--out', 'r.pkl'], "no file of weights 'none.pth'"),
        (['run.pth', '--out', 'r.onnx'], '--out: the file is one of .pkl, .pth'),
        (['run.pth', '--out', 'run.pth'], '--out'),
    ):
        done = nursery.run([COMMAND, *words], cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith('error: ')
        assert told in done.stderr
    done = nursery.run([COMMAND, 'run.pth', '--out', 'r.pkl'], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, 'r.pkl: 120 tensors\n')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['r.pkl', 'run.pth']
