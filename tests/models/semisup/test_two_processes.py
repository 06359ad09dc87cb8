"""Two processes, each with half of every batch, take the steps of one: losses, gradients, memory and running mean."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from toys import U, batch_for, method, total_of, trained_in

from openmix.engine.sync_batch_norm import convert_sync_batch_norm
from openmix.memory import memories_in
from openmix.registry import MODELS

STEPS = 3
NAMES = ('FixMatch', 'FlexMatch', 'UDA', 'PseudoLabel', 'SelfTuning')
OPTIONS = {'SelfTuning': dict(projector_width=4, queue=8, momentum=0.5, **MODELS.get('SelfTuning').published)}
BRANCH = dict(policy=dict(type='Mixup'), loss=dict(type='decoupled_ce', sides='own'))


def steps_of(name, rows=slice(None), unlabelled=slice(None), processes=1, partners=None):
    """Train some steps on a part of every batch; return losses, gradients, buffers and the memory of each step.

    With `partners`, the unlabelled images of the branch's pairs, there is a branch; lam is 0.3.
    """
    model = method(name, branch=None if partners is None else BRANCH, **OPTIONS.get(name, {'threshold': 0.5}))
    model.start()
    if partners is not None:
        model.branch.policy = model.branch.policy.holding(0.3)
    for memory in memories_in(model):
        memory.allocate(12)
    convert_sync_batch_norm(model)
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.3), []
    for step in range(STEPS):
        data = batch_for(model, seed=step)
        data['unlabelled']['ids'] = torch.randint(12, (U,), generator=torch.Generator().manual_seed(step))
        for pool, part in (('labelled', rows), ('unlabelled', unlabelled)):
            data[pool] = {key: value[part] for key, value in data[pool].items()}
        model.before_step(step, 2)
        optimizer.zero_grad()
        with pytest.MonkeyPatch.context() as patch:
            if partners is not None:
                patch.setattr(torch, 'randperm', lambda n, **_: torch.tensor(partners))
            losses = model.loss(data)
        total_of(model, losses).backward()
        values = [*(v.detach() for k, v in losses.items() if k != 'pseudo_label_accuracy')]
        values += [p.grad for p in trained_in(model)]
        for value in values if processes > 1 else ():
            dist.all_reduce(value)  # the mean over processes, as DDP takes it of gradients
            value /= processes
        optimizer.step()
        model.after_step()
        found += [value.clone() for value in values] + [value.clone() for value in model.buffers()]
    return found


def running_mean(unlabelled=slice(None)):
    model = method('ReMixMatch')
    p = torch.softmax(torch.randn(3, U, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), 2)
    return [model.targets_of(one[unlabelled]) for one in p], model.running_mean


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    halves = (slice(0, 2), slice(0, U // 2)) if rank == 0 else (slice(2, None), slice(U // 2, None))
    found = {name: steps_of(name, *halves, processes=2) for name in NAMES}
    found['branch'] = steps_of('FixMatch', *halves, processes=2, partners=(0, 1))
    torch.save((found, running_mean(halves[1])), f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    mp.spawn(one_rank, (str(tmp_path),), nprocs=2, daemon=True)
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    # Each process mixes its first two unlabelled images.
    of_one = {name: steps_of(name) for name in NAMES} | {'branch': steps_of('FixMatch', partners=(0, 1, 4, 5))}
    for name, alone in of_one.items():
        for found, _ in ranks:
            for one, other in zip(alone, found[name], strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    targets, mean = running_mean()
    for rank, (_, (of_half, its_mean)) in enumerate(ranks):
        assert torch.allclose(its_mean, mean, rtol=1e-12)
        rows = slice(0, U // 2) if rank == 0 else slice(U // 2, None)
        for one, other in zip(targets, of_half):
            torch.testing.assert_close(one[rows], other)
