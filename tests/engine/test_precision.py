"""The precision of a run with `dtype='auto'`: measured at the start, kept over a resume, recorded."""

import copy
import json

import pytest
import torch
from mmengine.registry import init_default_scope
from processes import all_end
from torch import nn

from openmix.engine.amp import AutocastOptimWrapper
from openmix.engine.precision import Speed, measure, precision_of
from openmix.errors import InputError
from openmix.registry import MODELS
from openmix.result import parse_result


class Clock:
    """A clock that advances, in every step, by what the precision of that step costs."""

    def __init__(self, seconds):
        self.now, self.seconds, self.steps = 0.0, seconds, []

    def __call__(self):
        return self.now


class Costly(nn.Module):
    """A network whose forward pass takes time by the precision and the number of images, on a clock."""

    def __init__(self, clock):
        super().__init__()
        self.fc, self.clock = nn.Linear(3 * 4 * 4, 2), clock

    def forward(self, x):
        precision = 'bfloat16' if torch.is_autocast_enabled('cpu') else 'float32'
        self.clock.steps.append((precision, len(x)))
        self.clock.now += self.clock.seconds[precision] * len(x)
        torch.rand(3)
        return self.fc(x.flatten(1))


@pytest.mark.parametrize(('bfloat16', 'faster'), [(0.001, 'bfloat16'), (0.003, 'float32'), (0.002, 'float32')])
def test_the_faster_precision_is_taken(bfloat16, faster):
    clock = Clock({'float32': 0.002, 'bfloat16': bfloat16})
    network = Costly(clock)
    before = torch.random.get_rng_state()
    found = measure(network, (100, 3, 4, 4), clock)
    assert torch.equal(torch.random.get_rng_state(), before)  # the run draws what it would have drawn
    assert all(p.grad is None for p in network.parameters())
    # A fifth of a second: as many images as the slower precision takes in it.
    assert found.images == int(0.2 / max(0.002, bfloat16) + 1e-6)
    assert (found.float32, found.bfloat16) == (
        pytest.approx(0.002 * found.images),
        pytest.approx(bfloat16 * found.images),
    )
    assert found.faster == faster
    assert clock.now < 2.5
    precisions = [precision for precision, _ in clock.steps]
    assert precisions.count('float32') == precisions.count('bfloat16')


def test_a_real_network_is_measured():
    init_default_scope('openmix')
    network = nn.Sequential(MODELS.build(dict(type='ThinResNet', depth=8, width=4)), nn.Linear(16, 2))
    found = measure(network.to(memory_format=torch.channels_last), (16, 3, 8, 8))
    assert 8 <= found.images <= 16
    assert min(found.float32, found.bfloat16) > 0


def wrapper(dtype='auto'):
    model = nn.Linear(4, 2)
    return model, AutocastOptimWrapper(dtype, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize(('precision', 'dtype'), [('bfloat16', torch.bfloat16), ('float32', torch.float32)])
def test_a_resumed_run_keeps_the_choice(precision, dtype):
    model, first = wrapper()
    with pytest.raises(InputError, match="dtype='auto' is for the Runner"), first.optim_context(model):
        pass
    first.settle(precision)
    other, second = wrapper()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert precision_of(second) == precision
    with second.optim_context(other):
        assert other(torch.ones(1, 4)).dtype == dtype


def test_a_stated_precision_stays_and_its_checkpoint_is_as_before():
    _, stated = wrapper('bfloat16')
    assert 'precision' not in stated.state_dict()
    assert precision_of(stated) == 'bfloat16'
    with pytest.raises(InputError, match=r'the precision that was measured .*bfloat16'):
        wrapper()[1].settle('float16')


def test_equal_speeds_take_float32():
    assert Speed(1.0, 1.0, 8).faster == 'float32'


@pytest.mark.slow
def test_a_run_measures_once(nursery, tmp_path):
    options = ['model.backbone.depth=8', 'model.backbone.width=4', 'train_dataloader.batch_size=240']
    train = ['train.py', 'classification/digits/resnet20.py', '--amp', 'auto', '--work-dir', 'run']
    env = {'CUDA_VISIBLE_DEVICES': ''}
    done = nursery.run([*train, '--cfg-options', *options, 'train_cfg.max_epochs=1'], tmp_path, env)
    assert done.returncode == 0, done.stderr[-3000:]
    (said,) = [line for line in (done.stdout + done.stderr).splitlines() if 'Precision: ' in line]
    chosen = said.partition('Precision: ')[2].partition(';')[0]
    result = json.loads((tmp_path / 'run/result.json').read_text())
    assert result['precision'] == chosen
    (right,) = parse_result(result).right.values()
    assert right.images == 355
    assert right.accuracy() == pytest.approx(result['metrics']['accuracy/top1'])
    # The other one in the checkpoint: the resumed run takes it, and does not measure.
    path = next((tmp_path / 'run').glob('*.pth'))
    content = torch.load(path, weights_only=False)
    assert content['optimizer']['precision'] == chosen
    other = {'bfloat16': 'float32', 'float32': 'bfloat16'}[chosen]
    content['optimizer']['precision'] = other
    torch.save(content, path)
    done = nursery.run([*train, '--resume', '--cfg-options', *options, 'train_cfg.max_epochs=2'], tmp_path, env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Precision: ' not in done.stdout + done.stderr
    assert json.loads((tmp_path / 'run/result.json').read_text())['precision'] == other
    off = nursery.run(
        ['train.py', 'classification/cifar10/resnet20_1000.py', '--amp', 'bf15', '--work-dir', 'run2'], tmp_path, env
    )
    assert off.returncode == 2


SAID = """
import os
from pathlib import Path
from mmengine.hooks import Hook
from openmix.engine.precision import precision_of
from openmix.registry import HOOKS

@HOOKS.register_module()
class SaidHook(Hook):
    def after_train(self, runner):
        Path(os.environ['SAID'] + os.environ['RANK']).write_text(precision_of(runner.optim_wrapper))
"""


@pytest.mark.slow
def test_two_processes_train_in_the_precision_that_the_first_one_measures(nursery, tmp_path):
    (tmp_path / 'said.py').write_text(SAID)
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(
        "_base_ = 'classification/digits/resnet20.py'\n"
        "custom_imports = dict(imports=['said'])\n"
        "custom_hooks = [dict(type='SaidHook')]\n"
        'model = dict(backbone=dict(depth=8, width=4))\n'
        'train_dataloader = dict(batch_size=120)\n'
        'train_cfg = dict(max_epochs=1)\n'
    )
    words = ['train.py', recipe, '--amp', 'auto', '--work-dir', tmp_path / 'run']
    env = {'PYTHONPATH': str(tmp_path), 'SAID': f'{tmp_path}/rank', 'CUDA_VISIBLE_DEVICES': ''}
    all_end(nursery.ranks(2, words, tmp_path / 'log', env), 0)
    lines = [line for rank in range(2) for line in (tmp_path / f'log.{rank}').read_text().splitlines()]
    (said,) = [line for line in lines if 'Precision: ' in line]
    chosen = said.partition('Precision: ')[2].partition(';')[0]
    assert [(tmp_path / f'rank{rank}').read_text() for rank in range(2)] == [chosen] * 2
    assert json.loads((tmp_path / 'run/result.json').read_text())['precision'] == chosen
