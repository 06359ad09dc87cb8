"""Precise batch norm by value, and in runs that are killed, resumed and split over processes."""

from __future__ import annotations

import json
import os
import signal

import kill_and_resume as harness
import numpy as np
import pytest
import torch
from algorithm_cases import ALGORITHMS, write_boxes
from torch import nn

from openmix.algorithm import Algorithm
from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.precise_bn import PreciseBNHook, precise_statistics
from openmix.errors import InputError

DIGITS = """
_base_ = 'configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4), policy=dict(type='CutMix', alpha=1.0))
train_dataloader = dict(dataset=dict(subset=50), batch_size=20)
val_dataloader = dict(dataset=dict(subset=40))
vis_backends = []
"""
HOOK = "custom_hooks = [*_base_.custom_hooks, dict(type='PreciseBNHook', iterations=5)]\n"


class TwoNorms(Algorithm):
    """A batch norm, a convolution and a batch norm that runs twice; others that do not run, or not in training mode."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(2), nn.BatchNorm2d(3, momentum=0.3)
        self.mix = nn.Conv2d(2, 3, 1)
        self.idle, self.bare = nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)
        self.register_buffer('seen', torch.zeros(()))

    def loss(self, batch):
        self.seen += 1
        x = self.mix(self.first(batch['inputs'])) + torch.rand(())
        return {'loss': self.bare(self.second(x) + self.second(2 * x)).sum()}


def statistics(x):
    """The mean and unbiased variance of (N, C, H, W) over all but C, channel by channel."""
    columns = [np.array([x[n, c].numpy() for n in range(len(x))]).ravel() for c in range(x.shape[1])]
    mean = [sum(column) / len(column) for column in columns]
    return mean, [sum((v - m) ** 2 for v in column) / (len(column) - 1) for column, m in zip(columns, mean)]


def test_statistics_are_means_over_batches_of_the_statistics_of_batches():
    torch.manual_seed(0)
    model = TwoNorms().double()
    nn.init.normal_(model.first.weight)
    batches = [{'inputs': torch.randn(size, 2, 3, 4).double() * size} for size in (2, 5, 3)]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    torch.manual_seed(1)
    found = precise_statistics(model, batches)
    assert not model.training
    assert model.second.momentum == 0.3
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(found) == {model.first, model.second}

    torch.manual_seed(1)
    of_first, of_second = [], []
    for x in (batch['inputs'] for batch in batches):
        mean, var = statistics(x)
        of_first.append((mean, var))
        biased = torch.tensor(var) * (x.numel() // 2 - 1) / (x.numel() // 2)
        x = (x - torch.tensor(mean).view(1, 2, 1, 1)) / (biased + 1e-5).sqrt().view(1, 2, 1, 1)
        x = x * model.first.weight.detach().view(1, 2, 1, 1)
        kernel, bias = model.mix.weight.detach()[..., 0, 0], model.mix.bias.detach()
        x = torch.einsum('oc,nchw->nohw', kernel, x) + bias.view(1, 3, 1, 1) + torch.rand(())
        of_second += [statistics(x), statistics(2 * x)]
    for norm, each in ((model.first, of_first), (model.second, of_second)):
        for value, column in zip(found[norm], zip(*each)):
            np.testing.assert_allclose(value.numpy(), np.mean(column, 0), rtol=1e-7, atol=1e-9)


def test_an_algorithm_in_evaluation_is_measured_in_training_mode():
    """A norm that its owner keeps in evaluation mode is left alone."""
    model = TwoNorms()
    model.first.train = lambda mode=True: nn.Module.train(model.first, False)
    assert set(precise_statistics(model.eval(), [{'inputs': torch.randn(4, 2, 3, 3)}])) == {model.second}


@pytest.fixture(scope='module')
def train(tmp_path_factory):
    """Return a function that trains the digits; it returns the folder of the run."""

    def run(name, text):
        folder = tmp_path_factory.mktemp(name)
        (folder / 'mine.py').write_text(DIGITS + text)
        cfg = launch.prepare(load_config(folder / 'mine.py'))
        cfg.work_dir = str(folder / 'run')
        launch.train(cfg)
        return folder

    return run


LENGTHS = {
    'epochs': 'train_cfg = dict(max_epochs=3, val_interval=2)\n',
    'iterations': "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=7, val_interval=4)\n"
    'param_scheduler = None\ndefault_hooks = dict(checkpoint=dict(by_epoch=False))\n',
}


@pytest.mark.parametrize('length', LENGTHS)
def test_training_is_the_same_and_the_checkpoint_is_what_was_validated(train, length):
    """The sampler, the draws and so the weights are those without it; only the statistics are others."""
    plain, precise = train('plain', LENGTHS[length]), train('precise', LENGTHS[length] + HOOK)
    (left,), (right,) = (sorted((folder / 'run').glob('*_*.pth')) for folder in (plain, precise))
    weights, ours = (read_checkpoint(path)['state_dict'] for path in (left, right))
    running = {key for key in weights if key.endswith(('running_mean', 'running_var'))}
    assert len(running) == 14
    for key, value in weights.items():
        assert torch.equal(value, ours[key]) != (key in running), key
    rows, own = (json.loads((folder / 'run/result.json').read_text()) for folder in (plain, precise))
    losses = [[row['loss'] for row in result['history'] if 'loss' in row] for result in (rows, own)]
    assert losses[0] == losses[1]
    assert losses[0]
    cfg = launch.prepare(load_config(precise / 'mine.py'))
    cfg.work_dir = str(precise / 'test')
    cfg.test_dataloader = cfg.val_dataloader
    measured = launch.evaluate(cfg, str(right), False, None)
    assert measured['accuracy/nll'] == own['metrics']['accuracy/nll'] != rows['metrics']['accuracy/nll']


def test_a_pass_that_it_interrupts_goes_on_with_the_draws_of_each_image(train, tmp_path):
    """Fault: it reads by the loader of the training, whose images then have the draws of another pass."""
    harness.write_images(tmp_path / 'images', per_class=7)
    given = f"_delete_=True, type='ImageFolder', root={str(tmp_path / 'images')!r}, size=16"
    text = LENGTHS['iterations'] + (
        'crop = dict(type="torchvision/RandomCrop", size=16, padding=4)\n'
        f"train_dataloader = dict(batch_size=4, dataset=dict({given}, split='train', pipeline=[crop]))\n"
        f"val_dataloader = dict(dataset=dict({given}, split='val'))\ntest_dataloader = val_dataloader\n"
    )
    weights = []
    for more in ('', HOOK):
        (path,) = (train('pass', text + more) / 'run').glob('*_*.pth')
        state = read_checkpoint(path)['state_dict']
        weights.append({key: value for key, value in state.items() if key.endswith('weight')})
    assert weights[0]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_moving_average_beside_it_is_refused(train):
    with pytest.raises(InputError, match='EMAHook validates their moving average; leave one of them out'):
        train('average', HOOK.replace(']\n', ", dict(type='EMAHook', momentum=0.1)]\n"))
    with pytest.raises(InputError, match='PreciseBNHook: iterations must be >= 1'):
        PreciseBNHook(0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_detector_is_killed_resumed_and_split(tmp_path):
    """Killed after a validation and inside an epoch; and in two processes, which save and validate one model."""
    write_boxes(tmp_path / 'boxes')
    recipe = tmp_path / 'recipe.py'
    hook = HOOK.replace('iterations=5', 'iterations=3')
    recipe.write_text(ALGORITHMS['FasterRCNN'].text(tmp_path / 'images') + hook)
    harness.finish(recipe, tmp_path / 'alone')
    at, run = 5, tmp_path / 'run'
    for processes in (1, 2):
        if processes == 2:
            harness.finish(recipe, tmp_path / 'pair', 2)
            at, run = 2, tmp_path / 'pair_run'
        children = harness.start(recipe, run, processes, stops_before=at)
        harness.wait_until_stopped(children)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        harness.finish(recipe, run, processes, harness.resume_options(run))
        whole = tmp_path / ('alone' if processes == 1 else 'pair')
        assert harness.differences(whole, run) == []
    log = harness.log_of(tmp_path / 'pair')
    begun, done = (
        'Batch norm: 3 batches of training images pass',
        'Batch norm evaluates with the statistics of 3 batches',
    )
    assert -1 < log.find(begun) < log.find(done)
    # What two processes measured together is what one measures of the file that they left.
    metrics = json.loads((tmp_path / 'pair/result.json').read_text())['metrics']
    cfg = launch.prepare(load_config(recipe))
    cfg.work_dir = str(tmp_path / 'test')
    (left,) = (tmp_path / 'pair').glob('epoch_*.pth')
    measured = launch.evaluate(cfg, str(left), False, None)
    assert measured == {key: value for key, value in metrics.items() if key.startswith('voc/')}
    assert measured.keys() == {'voc/AP', 'voc/AP50', 'voc/AP75'}
