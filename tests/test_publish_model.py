"""tools/publish_model.py: a checkpoint stripped to its weights, named by its content."""

import hashlib

import pytest
import torch
from torch import nn

from openmix.engine.checkpoint import load_weights

COMMAND = 'publish_model.py'


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
        'epoch': 3,
        'seed': 5,
        'recipe': 'abc',
        'weights': kind,
    }
    assert not {'cfg', 'experiment_name'} & found['meta'].keys()
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
