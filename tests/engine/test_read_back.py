"""Losses stay on the GPU until they are needed; logs are the same, and errors name the same iteration."""

import math
import types

import pytest
import torch
from mmengine.logging import MessageHub

from openmix.engine.finite import FiniteLossHook
from openmix.engine.logger_hook import LoggerHook
from openmix.engine.read_back import HeldBack, ReadBackHook, RuntimeInfoHook
from openmix.errors import InputError

INTERVAL, EPOCH = 4, 10


def patched(monkeypatch):
    """Make `is_looked_at` treat CPU tensors as GPU tensors."""
    usual = ReadBackHook.is_looked_at

    def looked_at(self, runner, batch_idx, outputs):
        there = types.SimpleNamespace(is_cuda=True)
        monkeypatch.setattr('openmix.engine.read_back.Tensor', types.SimpleNamespace)
        try:
            return usual(self, runner, batch_idx, dict.fromkeys(outputs, there))
        finally:
            monkeypatch.setattr('openmix.engine.read_back.Tensor', torch.Tensor)

    monkeypatch.setattr(ReadBackHook, 'is_looked_at', looked_at)


def runner(tmp_path, name):
    return types.SimpleNamespace(
        hooks=[LoggerHook(interval=INTERVAL)],
        message_hub=MessageHub(name),
        train_dataloader=[None] * EPOCH,
        work_dir=str(tmp_path),
        iter=0,
    )


def outputs(iteration):
    value = torch.tensor(1 / (iteration + 3), dtype=torch.bfloat16)
    return {
        'loss': value.float(),
        'mask_loss': value,
        'clean_loss': torch.tensor(math.pi * iteration, dtype=torch.float64),
    }


def train(hook, at, iterations, of=outputs):
    """Train; return the length of the log after every iteration."""
    lengths = []
    for at.iter in range(iterations):
        hook.after_train_iter(at, at.iter % EPOCH, None, of(at.iter))
        known = at.message_hub.log_scalars.get('train/loss')
        lengths.append(0 if known is None else len(known.data[0]))
    return lengths


def test_on_the_cpu_at_once(tmp_path):
    at = runner(tmp_path, 'at_once')
    assert train(RuntimeInfoHook(), at, 5) == [1, 2, 3, 4, 5]
    assert at.message_hub.get_scalar('train/clean_loss').current() == math.pi * 4


def test_of_a_gpu_where_somebody_looks(tmp_path, monkeypatch):
    at_once = runner(tmp_path, 'beside')
    train(RuntimeInfoHook(), at_once, 23)
    patched(monkeypatch)
    hook, held = RuntimeInfoHook(), runner(tmp_path, 'held')
    # The LoggerHook looks at iterations 4 and 8 of every epoch; an epoch ends after 10.
    assert train(hook, held, 23) == [0] * 3 + [4] * 4 + [8] * 2 + [10] * 4 + [14] * 4 + [18] * 2 + [20] * 4
    hook.read_back(held)
    for name in ('loss', 'mask_loss', 'clean_loss'):
        wanted, got = (hub.message_hub.get_scalar(f'train/{name}').data[0] for hub in (at_once, held))
        assert wanted.tolist() == got.tolist()


@pytest.mark.parametrize('event', ['read_back', 'after_train_epoch', 'before_val', 'after_train'])
def test_nothing_is_left_behind(tmp_path, monkeypatch, event):
    patched(monkeypatch)
    hook, at = RuntimeInfoHook(), runner(tmp_path, event)
    at.message_hub.update_info('loop_stage', 'train')
    assert train(hook, at, 2) == [0, 0]
    getattr(hook, event)(at)
    assert len(at.message_hub.get_scalar('train/loss').data[0]) == 2


@pytest.mark.parametrize('gpu', [False, True])
def test_the_first_bad_iteration_is_named(tmp_path, monkeypatch, gpu):
    if gpu:
        patched(monkeypatch)
    at = runner(tmp_path, f'bad{gpu}')
    with pytest.raises(InputError, match=r'loss became nan at iteration 13 \(epoch 2\)'):
        train(FiniteLossHook(), at, 20, lambda i: {'loss': torch.tensor(math.nan if i >= 12 else 1.0)})
    assert at.iter == (13 if gpu else 12)


def test_one_transfer_reads_all():
    held = HeldBack()
    held.add(0, {})
    held.add(1, {'a': torch.tensor([1.0, 3.0]), 'b': 5.0})
    held.add(2, {'b': torch.tensor(6)})
    assert held.read() == [(1, {'a': 2.0, 'b': 5.0}), (2, {'b': 6.0})]
    assert held.read() == []
