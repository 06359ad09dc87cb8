"""Compare synchronised batch norm in two processes with plain batch norm of the concatenated batch."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START_METHOD
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from openmix.engine.sync_batch_norm import NaiveSyncBatchNorm, convert_sync_batch_norm
from openmix.errors import InputError

SIZES = (3, 5)  # batch of rank 0, batch of rank 1
STEPS = 3

# name: (plain module, shape of a sample, dtype, mean of the data, absolute tolerance)
CASES = {
    '1d': (lambda: nn.BatchNorm1d(4), (4,), torch.float64, 0, 1e-10),
    '1d sequence': (lambda: nn.BatchNorm1d(4), (4, 6), torch.float64, 0, 1e-10),
    '2d': (lambda: nn.BatchNorm2d(4), (4, 5, 3), torch.float64, 0, 1e-10),
    '3d': (lambda: nn.BatchNorm3d(4), (4, 2, 3, 2), torch.float64, 0, 1e-10),
    'cumulative': (lambda: nn.BatchNorm2d(4, momentum=None), (4, 5, 3), torch.float64, 0, 1e-10),
    'no affine': (lambda: nn.BatchNorm2d(4, affine=False), (4, 5, 3), torch.float64, 0, 1e-10),
    'no statistics': (lambda: nn.BatchNorm2d(4, track_running_stats=False), (4, 5, 3), torch.float64, 0, 1e-10),
    'float32': (lambda: nn.BatchNorm2d(4), (4, 5, 3), torch.float32, 0, 1e-5),
    'float32, large mean': (lambda: nn.BatchNorm2d(4), (4, 5, 3), torch.float32, 1000, 1e-3),
    'timm': (lambda: BatchNormAct2d(4, act_layer=nn.SiLU), (4, 5, 3), torch.float64, 0, 1e-10),
    'frozen': (lambda: nn.BatchNorm2d(4).eval(), (4, 5, 3), torch.float64, 0, 1e-10),
}


EQUAL = ('2d', 'cumulative', 'timm')


def build(case):
    make, shape, dtype, mean, _ = CASES[case]
    torch.manual_seed(0)
    norm = make().to(dtype)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    data = [mean + 2 * torch.randn(sum(SIZES), *shape, dtype=dtype) for _ in range(STEPS)]
    return norm, data, torch.randn(sum(SIZES), *shape, dtype=dtype)


def run(norm, data, weight, rows):
    """Train some steps on a part of every batch; return outputs and gradients of the last step, and all buffers."""
    out = x = torch.empty(0)
    for batch in data:
        norm.zero_grad()
        x = batch[rows].clone().requires_grad_()
        out = norm(x)
        (out * weight[rows]).sum().backward()
    return dict(
        out=out.detach(),
        grad=x.grad,
        parameters={name: p.grad for name, p in norm.named_parameters()},
        buffers={name: b.clone() for name, b in norm.named_buffers()},
    )


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    rows = slice(0, SIZES[0]) if rank == 0 else slice(SIZES[0], None)
    found = {}
    for case in CASES:
        norm, data, weight = build(case)
        model = nn.Sequential(norm)
        convert_sync_batch_norm(model)
        assert isinstance(model[0], NaiveSyncBatchNorm)
        found[case] = run(model[0], data, weight, rows)
    half = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    convert_sync_batch_norm(half)
    with torch.autocast('cpu', torch.bfloat16):
        out = half(300 + torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(rank)))
    found['autocast'] = out.dtype, half[1].running_var.dtype, out.detach().float()
    for case in EQUAL:
        norm, data, weight = build(case)
        model = nn.Sequential(norm)
        convert_sync_batch_norm(model, 'equal')
        found[f'equal {case}'] = run(model[0], data, weight, rows)
    torch.save(found, f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    mp.start_processes(one_rank, (str(folder),), nprocs=2, daemon=True, start_method=START_METHOD)
    return [torch.load(folder / f'rank{rank}.pt', weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_two_processes_equal_plain_batch_norm_of_the_whole_batch(ranks, case):
    norm, data, weight = build(case)
    whole, parts = run(norm, data, weight, slice(None)), [rank[case] for rank in ranks]
    near = dict(rtol=CASES[case][-1], atol=CASES[case][-1])
    for key in ('out', 'grad'):
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), whole[key], **near)
    for name, grad in whole['parameters'].items():
        torch.testing.assert_close(sum(part['parameters'][name] for part in parts), grad, **near)
    for name, buffer in whole['buffers'].items():
        for part in parts:
            torch.testing.assert_close(part['buffers'][name], buffer, **near)


def weighing_alike(norm, x):
    """The definition, differentiable: means of the processes' means, and a biased running variance."""
    halves = x[: SIZES[0]], x[SIZES[0] :]
    mean = sum(half.mean((0, 2, 3)) for half in halves) / 2
    var = sum((half * half).mean((0, 2, 3)) for half in halves) / 2 - mean * mean
    out = (x - mean[:, None, None]) / (var + norm.eps).sqrt()[:, None, None]
    return out * norm.weight[:, None, None] + norm.bias[:, None, None], mean.detach(), var.detach()


@pytest.mark.slow
@pytest.mark.parametrize('case', EQUAL)
def test_the_equal_kind_weighs_processes_alike(ranks, case):
    norm, data, weight = build(case)
    running = [torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)]
    for step, batch in enumerate(data, 1):
        norm.zero_grad()
        x = batch.clone().requires_grad_()
        out, *new = weighing_alike(norm, x)
        out = norm.act(out) if case == 'timm' else out
        share = 1 / step if norm.momentum is None else norm.momentum
        running = [(1 - share) * old + share * value for old, value in zip(running, new)]
        (out * weight).sum().backward()
    parts = [rank[f'equal {case}'] for rank in ranks]
    near = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.cat([part['out'] for part in parts]), out.detach(), **near)
    torch.testing.assert_close(torch.cat([part['grad'] for part in parts]), x.grad, **near)
    for part in parts:
        torch.testing.assert_close([part['buffers'][f'running_{key}'] for key in ('mean', 'var')], running, **near)
    for name, parameter in norm.named_parameters():
        torch.testing.assert_close(sum(part['parameters'][name] for part in parts), parameter.grad, **near)


@pytest.mark.slow
def test_statistics_under_autocast_are_float32(ranks):
    """Around 300, bfloat16 has steps of 2, as large as the deviation."""
    out = []
    for rank in ranks:
        dtype, kept, values = rank['autocast']
        assert (dtype, kept) == (torch.bfloat16, torch.float32)
        out.append(values)
    std, mean = torch.std_mean(torch.cat(out), (0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(std, torch.ones(4), atol=0.02, rtol=0)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('kind', ['naive', 'equal'])
def test_one_process_is_plain_batch_norm_to_the_bit(case, kind):
    norm, data, weight = build(case)
    model = nn.Sequential(copy.deepcopy(norm))
    convert_sync_batch_norm(model, kind)
    plain, synced = run(norm, data, weight, slice(None)), run(model[0], data, weight, slice(None))
    torch.testing.assert_close(synced, plain, rtol=0, atol=0)


def test_conversion_keeps_modules_keys_and_hooks():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3), nn.ReLU()), BatchNormAct2d(4))
    keys, inner = list(model.state_dict()), model[1][0]
    seen = []
    inner.register_forward_hook(lambda *_: seen.append(1))
    model.eval()
    x = torch.randn(2, 3, 4, 4)
    before = model(x)
    convert_sync_batch_norm(model)
    convert_sync_batch_norm(model)
    assert model[1][0] is inner
    assert isinstance(inner, NaiveSyncBatchNorm)
    assert (inner.eps, inner.training) == (1e-3, False)
    assert list(model.state_dict()) == keys
    assert torch.equal(model(x), before)
    assert seen == [1, 1]
    assert torch.equal(copy.deepcopy(model)(x), before)


class Odd(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ('model', 'kind', 'line'),
    [
        (nn.Sequential(Odd(3)), 'naive', "'0' is a Odd, which has a forward pass of its own"),
        (nn.Sequential(nn.LazyBatchNorm2d()), 'naive', 'LazyBatchNorm2d'),
        (nn.Sequential(nn.BatchNorm2d(3)), 'nave', "did you mean 'naive'"),
        pytest.param(
            nn.Sequential(nn.BatchNorm2d(3)),
            'torch',
            "use sync_bn='naive'",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='the GPU has it'),
        ),
    ],
)
def test_what_cannot_be_converted_is_one_line(model, kind, line):
    with pytest.raises(InputError, match=line):
        convert_sync_batch_norm(model, kind)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's batch norm over processes needs a GPU")
def test_torch_kind_on_a_gpu():
    model = nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3)).cuda()
    x = torch.randn(4, 3, 5, 5, device='cuda')
    plain = copy.deepcopy(model)(x)
    convert_sync_batch_norm(model, 'torch')
    assert all(isinstance(module, nn.SyncBatchNorm) for module in model)
    torch.testing.assert_close(model(x), plain)
