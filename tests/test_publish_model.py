"""tools/publish_model.py: a checkpoint stripped to its weights, named by its content."""

import hashlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from openmix.config import tools_path
from openmix.engine.checkpoint import load_weights


def call(*args):
    command = [sys.executable, str(tools_path('publish_model.py')), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def checkpoint(folder, ema=False):
    """A run's file as training leaves it; with an average mmengine keeps the raw weights beside it."""
    torch.manual_seed(0)
    raw, average = nn.Linear(4, 3).state_dict(), nn.Linear(4, 3).state_dict()
    meta = {'epoch': 3, 'iter': 69, 'seed': 5, 'recipe': 'abc', 'cfg': "root = '/home/me'", 'experiment_name': 'mine'}
    found = {'meta': meta, 'state_dict': raw, 'optimizer': {'state': torch.zeros(1000)}, 'message_hub': {}}
    if ema:
        found |= {'state_dict': average, 'ema_state_dict': {f'module.{key}': value for key, value in raw.items()}}
    torch.save(found, folder / 'epoch_3.pth')
    return folder / 'epoch_3.pth', raw, average


@pytest.mark.parametrize(('options', 'has_average'), [([], False), ([], True), (['--ema'], True)])
def test_only_weights_and_meta_are_left(tmp_path, options, has_average):
    path, raw, average = checkpoint(tmp_path, has_average)
    done = call(path, *options, '--out', tmp_path / 'zoo')
    assert done.returncode == 0, done.stderr
    (published,) = (tmp_path / 'zoo').iterdir()
    assert done.stdout.strip() == str(published)
    assert published.name == f'epoch_3-{hashlib.sha256(published.read_bytes()).hexdigest()[:8]}.pth'
    found = torch.load(published, weights_only=True)
    assert found.keys() == {'meta', 'state_dict'}
    kind = 'moving average' if options else 'raw'
    assert {key: found['meta'][key] for key in ('epoch', 'seed', 'recipe', 'weights')} == {
        'epoch': 3,
        'seed': 5,
        'recipe': 'abc',
        'weights': kind,
    }
    assert not {'cfg', 'experiment_name'} & found['meta'].keys()
    model = nn.Linear(4, 3)
    load_weights(model, published)
    assert torch.equal(model.weight, (average if options else raw)['weight'])


def test_the_same_weights_have_the_same_name(tmp_path):
    path, *_ = checkpoint(tmp_path)
    (tmp_path / 'elsewhere').mkdir()
    assert call(path).stdout.rpartition('/')[2] == call(path, '--out', tmp_path / 'elsewhere').stdout.rpartition('/')[2]


@pytest.mark.parametrize(
    ('name', 'options', 'line'),
    [('gone.pth', [], "no checkpoint '"), ('epoch_3.pth', ['--ema'], 'holds no moving average')],
)
def test_bad_input_is_one_line(tmp_path, name, options, line):
    checkpoint(tmp_path)
    done = call(tmp_path / name, *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert line in done.stderr
