"""Memories and queues, equal in all processes by construction: not broadcast, not averaged, and yet saved."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from processes import START_METHOD
from torch import nn

from openmix.algorithm import Algorithm
from openmix.engine.buffers import take_rank_zero_buffers
from openmix.engine.data_parallel import data_parallel
from openmix.engine.ema_hook import ExponentialMovingAverage, copy_buffers
from openmix.errors import InputError
from openmix.memory import SampleMemory, equal_buffers
from openmix.ops import gather
from openmix.ops.gather import gather_rows, row_counts


class Queued(Algorithm):
    """A queue of its own, a memory, and batch norm, whose statistics are those of each process."""

    equal_buffers = frozenset({'queue'})

    def __init__(self, images=5):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.memory = SampleMemory(3)
        self.memory.allocate(images)
        self.register_buffer('queue', torch.randn(4))

    def forward(self, inputs, mode='loss'):
        return {'loss': self.backbone(inputs).sum()}


def test_what_a_module_declares_is_found_and_what_it_does_not_have_is_refused():
    model = nn.Sequential(Queued(), nn.BatchNorm1d(2), SampleMemory(2))
    assert equal_buffers(model).keys() == {'0.queue', '0.memory.rows'}
    assert equal_buffers(model[0])['queue'] is model[0].queue
    wrong = Queued()
    wrong.equal_buffers = frozenset({'que'})
    with pytest.raises(InputError, match="Queued: equal_buffers names 'que', which is no buffer of it"):
        equal_buffers(wrong)


@pytest.mark.parametrize('update_buffers', [False, True])
@pytest.mark.parametrize('interval', [1, 2])
def test_a_moving_average_takes_them_only_where_it_is_used(update_buffers, interval):
    model = Queued()
    average = ExponentialMovingAverage(model, momentum=0.5, interval=interval, update_buffers=update_buffers)
    average.update_parameters(model)
    start = {name: value.clone() for name, value in average.module.named_buffers()}
    for _ in range(3):
        with torch.no_grad():
            model.memory.write(torch.arange(5), model.memory.rows + 1)
            model.queue = model.queue + 1
            model.backbone[1].running_mean += 1
            model.backbone[0].weight += 1
        average.update_parameters(model)
    found = dict(average.module.named_buffers())
    for name in ('memory.rows', 'queue'):
        assert torch.equal(found[name], start[name])
    mean = found['backbone.1.running_mean'] - start['backbone.1.running_mean']
    averaged = {1: 2.125, 2: 1.0}[interval]  # at every step 0.5, 1.25, 2.125; else at the second alone
    assert mean.tolist() == [averaged if update_buffers else 3.0] * 2
    copy_buffers(average.module, model, list(equal_buffers(model)))
    assert torch.equal(average.module.queue, model.queue)
    assert torch.equal(average.module.memory.rows, model.memory.rows)


def counted_beside_a_gpu(rank):
    """Count rows as where the default group communicates on GPUs; return the counts, and the groups made for them."""
    new_group, made = dist.new_group, []

    def on_gpu(*args, **kwargs):
        raise AssertionError('the default group communicates on the GPU')

    def recorded(**kwargs):
        made.append(kwargs)
        return new_group(**kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, 'get_backend', lambda group=None: 'nccl')
        patch.setattr(gather, 'all_gather', on_gpu)
        patch.setattr(dist, 'new_group', recorded)
        return [row_counts(torch.zeros(rank + more)) for more in (1, 5)], made


def one_rank(rank, folder):
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    torch.manual_seed(rank)
    wrapped = data_parallel(Queued(), Config({}))
    model = wrapped.module
    found = {'began': model.queue.clone()}
    # A broadcast would put rank 0's values into all of them.
    for buffer in (model.queue, model.memory.rows, model.backbone[1].running_mean):
        buffer.fill_(rank)
    wrapped(torch.zeros(2, 2))
    found['after a step'] = [model.queue.clone(), model.memory.rows.clone()]
    model.backbone[1].running_mean.fill_(rank)
    take_rank_zero_buffers(wrapped)
    found['validated'] = [model.queue.clone(), model.backbone[1].running_mean.clone()]
    found['gathered'] = []
    for counts in ((4, 3), (0, 2), (2, 2)):
        mine = 10 * rank + torch.arange(counts[rank])
        assert row_counts(mine) == list(counts)
        found['gathered'] += [gather_rows(mine), gather_rows(mine[:, None].repeat(1, 3) > 5, counts)]
    memory = SampleMemory(2, fill=-1.0)
    memory.allocate(8)
    # Three images of one process and two of the other, one of them in both: the later process's value stays.
    ids = [torch.tensor([5, 0, 3]), torch.tensor([3, 7])][rank]
    memory.write(ids, torch.full((len(ids), 2), float(rank)))
    found['memory'] = memory.rows
    found['counted'] = counted_beside_a_gpu(rank)
    dist.barrier()
    dist.destroy_process_group()
    torch.save(found, f'{folder}/{rank}.pt')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('equal')
    mp.start_processes(one_rank, (str(folder),), nprocs=2, daemon=True, start_method=START_METHOD)
    return [torch.load(folder / f'{rank}.pt', weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_only_buffers_that_differ_are_broadcast(ranks):
    assert torch.equal(ranks[0]['began'], ranks[1]['began'])
    for rank, found in enumerate(ranks):
        for buffer in found['after a step']:
            assert buffer.unique().tolist() == [rank]
        queue, statistics = found['validated']
        assert queue.unique().tolist() == [rank]
        assert statistics.unique().tolist() == [0]


@pytest.mark.slow
def test_processes_may_have_unequal_numbers_of_rows(ranks):
    numbers = [[0, 1, 2, 3, 10, 11, 12], [10, 11], [0, 1, 10, 11]]
    for found in ranks:
        assert [rows.tolist() for rows in found['gathered'][::2]] == numbers
        assert [rows.tolist() for rows in found['gathered'][1::2]] == [[[n > 5] * 3 for n in all_] for all_ in numbers]
        assert found['memory'][:, 0].tolist() == [0, -1, -1, 1, -1, 0, -1, 1]


@pytest.mark.slow
def test_rows_are_counted_on_the_cpu_in_a_group_that_is_made_once(ranks):
    for found in ranks:
        assert found['counted'] == ([[1, 2], [5, 6]], [{'backend': 'gloo'}])
