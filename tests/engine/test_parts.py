"""Check values of seeds, readouts, checkpoints and AMP."""

import json
import math
import types

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from torch import nn

from openmix.algorithm import Algorithm
from openmix.engine.algorithm_hook import AlgorithmHook
from openmix.engine.amp import AutocastOptimWrapper
from openmix.engine.checkpoint import load_weights, read_checkpoint
from openmix.engine.optim_groups import clip_parts
from openmix.engine.results import ResultHook, readouts
from openmix.engine.seeding import StepSeedHook, step_seed
from openmix.engine.stopping import StopRequest
from openmix.errors import InputError
from openmix.provenance import Provenance


def test_step_seeds_do_not_collide():
    seeds = {step_seed(s, i, r) for s in range(5) for i in range(200) for r in range(8)}
    assert len(seeds) == 5 * 200 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def draws(seed, iteration, rank, monkeypatch, shared=False):
    monkeypatch.setattr('openmix.engine.seeding.get_rank', lambda: rank)
    runner = types.SimpleNamespace(seed=seed, iter=iteration)
    StepSeedHook(shared).before_train_iter(runner, 0)
    return torch.rand(3)


def test_draws_are_a_function_of_seed_iteration_and_rank(monkeypatch):
    here = draws(0, 5, 1, monkeypatch)
    assert torch.equal(here, draws(0, 5, 1, monkeypatch))
    for other in ((1, 5, 1), (0, 6, 1), (0, 5, 0)):
        assert not torch.equal(here, draws(*other, monkeypatch))
    assert torch.equal(draws(0, 5, 1, monkeypatch, shared=True), draws(0, 5, 0, monkeypatch))


def test_readouts():
    values = [float(v) for v in (10, 50, 20, 30, 25)]
    read = readouts('accuracy/top1', values)
    assert read == dict(last=25, best=50, median_last3=25, median_last5=25)  # of 10 there are too few
    assert readouts('accuracy/nll', values)['best'] == 10
    assert readouts('clean_loss', [math.nan, *values])['best'] == 10
    read = readouts('accuracy/top1', [*range(20)])
    assert (read['median_last10'], read['median_last20']) == (14.5, 9.5)


def fake_runner(tmp_path, iteration=0):
    hub = MessageHub(f'{tmp_path}{iteration}')
    for name, values in (('loss', (4.0, 2.0)), ('lr', (0.2, 0.1))):
        for value in values:
            hub.update_scalar(f'train/{name}', value)
    return types.SimpleNamespace(
        work_dir=str(tmp_path),
        cfg=Config({}),
        iter=iteration,
        epoch=0,
        seed=3,
        world_size=1,
        optim_wrapper=None,
        train_dataloader=[0, 0],
        message_hub=hub,
        max_iters=6,
        logger=types.SimpleNamespace(info=lambda text: None),
        check_claim=lambda: None,
    )


def epoch(hook, runner, accuracy):
    runner.iter += 2
    hook.after_train_epoch(runner)
    runner.epoch += 1
    hook.after_val_epoch(runner, {'accuracy/top1': accuracy})


def test_result_keeps_every_epoch_and_forgets_those_after_a_resume(tmp_path):
    hook, runner = ResultHook('abc'), fake_runner(tmp_path)
    hook.before_train(runner)
    for accuracy in (10.0, 20.0, 30.0):
        epoch(hook, runner, accuracy)

    resumed, runner = ResultHook('abc'), fake_runner(tmp_path, iteration=4)
    runner.epoch = 2
    resumed.before_train(runner)
    epoch(resumed, runner, 33.0)
    resumed.after_train(runner)
    result = json.loads((tmp_path / 'result.json').read_text())
    assert [row['accuracy/top1'] for row in result['history']] == [10, 20, 33]
    assert [row['epoch'] for row in result['history']] == [1, 2, 3]
    assert result['history'][0]['loss'] == 3.0
    assert result['history'][0]['lr'] == 0.1
    assert (result['epochs'], result['ended_early']) == (3, False)
    assert result['metrics']['accuracy/top1'] == 33
    assert result['readouts']['accuracy/top1']['median_last3'] == 20
    assert result['config_hash'] == Provenance('abc', None).digest
    assert result['seed'] == 3
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(line)['iter'] for line in lines] == [2, 4, 6]


def test_a_fresh_run_forgets_an_old_one(tmp_path):
    hook, runner = ResultHook(), fake_runner(tmp_path)
    hook.before_train(runner)
    epoch(hook, runner, 10.0)
    again = ResultHook()
    again.before_train(fake_runner(tmp_path))
    assert again.rows == {}


def test_history_buffer_survives_a_safe_load(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(dict(state_dict={}, message_hub=dict(log_scalars=dict(loss=buffer))), tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')['message_hub']['log_scalars']['loss']
    assert loaded.mean() == 1.5
    loaded.update(6.0)
    assert loaded.statistics('max') == 6.0


class Exploit:
    def __reduce__(self):
        return (eval, ('1',))


@pytest.mark.parametrize('content', ['text', 'exploit', 'truncated', 'list', 'missing'])
def test_what_is_no_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / 'a.pth'
    if content == 'text':
        path.write_text('hello')
    elif content == 'exploit':
        torch.save(Exploit(), path)
    elif content == 'list':
        torch.save([1], path)
    elif content == 'truncated':
        torch.save(dict(a=torch.rand(1000)), path)
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r'a\.pth') as caught:
        read_checkpoint(path)
    assert '\n' not in str(caught.value)


def test_weights_of_another_model_name_the_keys(tmp_path):
    torch.save(dict(state_dict=nn.Linear(3, 2).state_dict()), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r"'weight' is \(2, 3\), not \(2, 4\)"):
        load_weights(nn.Linear(4, 2), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r"missing '0\.weight'; missing '0\.bias'; unknown 'weight' and 1 more"):
        load_weights(nn.Sequential(nn.Linear(3, 2)), tmp_path / 'a.pth')


def test_ema_and_raw_weights_are_told_apart(tmp_path):
    ema, raw, model = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)
    wrapped = {f'module.{k}': v for k, v in raw.state_dict().items()} | {'steps': torch.tensor(1)}
    torch.save(dict(state_dict=ema.state_dict(), ema_state_dict=wrapped), tmp_path / 'a.pth')
    load_weights(model, tmp_path / 'a.pth')
    assert torch.equal(model.weight, raw.weight)
    load_weights(model, tmp_path / 'a.pth', ema=True)
    assert torch.equal(model.weight, ema.weight)
    torch.save(dict(state_dict=raw.state_dict()), tmp_path / 'b.pth')
    with pytest.raises(InputError, match='no moving average'):
        load_weights(model, tmp_path / 'b.pth', ema=True)


def test_autocast_runs_the_forward_pass_in_bfloat16():
    model = nn.Linear(4, 2)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(3, 4))
    wrapper.update_params(out.float().sum())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(model.weight, before - 0.3)
    wrapper.load_state_dict(wrapper.state_dict())


def test_autocast_clips_like_the_stock_wrapper():
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    clip = dict(max_norm=0.1)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1.0), clip_grad=clip)
    before = [p.detach().clone() for p in model.parameters()]
    with wrapper.optim_context(model):
        loss = model(torch.ones(3, 4)).float().square().sum()
    wrapper.update_params(loss)
    moved = sum((p - b).square().sum() for p, b in zip(model.parameters(), before)).sqrt()
    assert moved.item() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason='the GPU has float16')
@pytest.mark.parametrize(('dtype', 'line'), [('float16', 'needs a GPU'), ('float8', 'must be')])
def test_wrong_dtype_is_one_line(dtype, line):
    with pytest.raises(InputError, match=line):
        AutocastOptimWrapper(dtype=dtype, optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))


def test_a_fused_step_is_clipped_behind_the_unscaling():
    weight = nn.Parameter(torch.zeros(2))
    group = {'params': [weight], 'part': '', 'clip_grad': dict(max_norm=1.0)}
    optimizer = torch.optim.SGD([group], lr=1.0, fused=True)
    optimizer.register_step_pre_hook(clip_parts)
    wrapper = AutocastOptimWrapper(optimizer=optimizer)
    wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    wrapper.update_params((weight * torch.tensor([3.0, 4.0])).sum())
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.6, -0.8]))


def test_ranks_that_agreed_to_stop_do_not_vote_again(monkeypatch):
    """With accumulation they leave at the next step of the optimiser, which may fall between two votes."""
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda *args: None)
    request = StopRequest()
    request._group, request.signal = object(), 15
    assert [request.agreed(iterations) for iterations in (9, 10, 11, 12)] == [None, 15, 15, 15]


def test_an_algorithm_starts_once_and_follows_real_steps():
    calls = []

    class Counting(Algorithm):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Linear(1, 1)

        def read_data(self, dataset):
            calls.append(dataset)

        def start(self):
            calls.append('start')

        def after_step(self):
            calls.append('step')

    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for iteration in (0, 10):
        runner = types.SimpleNamespace(
            model=model,
            iter=iteration,
            optim_wrapper=types.SimpleNamespace(optimizer=optimizer),
            train_dataloader=types.SimpleNamespace(dataset='the data'),
        )
        AlgorithmHook().before_train(runner)
        if iteration == 0:
            optimizer.step()
    assert calls == ['the data', 'start', 'step']
