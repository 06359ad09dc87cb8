"""Two processes, each with half of every batch, take the steps of one: losses, gradients, memory and running mean."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START_METHOD
from toys import U, batch_for, method, total_of, trained_in

from openmix.engine.sync_batch_norm import convert_sync_batch_norm
from openmix.memory import memories_in
from openmix.mix import Mix
from openmix.models.semisup import mixmatch, remixmatch
from openmix.registry import MODELS

STEPS = 3
NAMES = ('FixMatch', 'FlexMatch', 'UDA', 'PseudoLabel', 'SelfTuning')
# Methods that mix all images, with the images of each pool: whole parts of whole sub-batches in every process.
POOLED = {'MixMatch': (mixmatch, 6), 'ReMixMatch': (remixmatch, 8)}
OPTIONS = {'SelfTuning': dict(projector_width=4, queue=8, momentum=0.5, **MODELS.get('SelfTuning').published)}
OPTIONS |= {'MixMatch': {}, 'ReMixMatch': {}}
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
    module, images = POOLED.get(name, (None, None))
    sizes = {} if images is None else dict(labelled=images, unlabelled=images)
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.3), []
    for step in range(STEPS):
        data = batch_for(model, seed=step, **sizes)
        count = len(data['unlabelled']['ids'])
        data['unlabelled']['ids'] = torch.randint(12, (count,), generator=torch.Generator().manual_seed(step))
        for pool, part in (('labelled', rows), ('unlabelled', unlabelled)):
            data[pool] = {key: value[part] for key, value in data[pool].items()}
        model.before_step(step, 2)
        optimizer.zero_grad()
        with pytest.MonkeyPatch.context() as patch:
            if partners is not None:
                patch.setattr(torch, 'randperm', lambda n, **_: torch.tensor(partners))
            if images is not None:
                mix, turns = pool_draws(images, 1 + len(model.views), step, rows)
                patch.setattr(module, 'draw_mix', lambda *_, mix=mix: mix)
                patch.setattr(torch, 'randint', lambda *_, turns=turns, **__: turns)
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


def pool_draws(n, blocks, seed, part):
    """Draw how each of two processes mixes its part of several blocks of n images, and turns of its part of n images.

    With a part of both, all are mixed as the two processes do.
    """
    g = torch.Generator().manual_seed(seed)
    lam, turns = 0.5 + torch.rand(blocks * n, generator=g) / 2, torch.randint(4, (n,), generator=g)
    partner = torch.empty(blocks * n, dtype=torch.int64)
    for rank in range(2):
        places = torch.arange(blocks * n).view(blocks, n)[:, HALF[rank]].flatten()
        local = torch.randperm(len(places), generator=g)
        partner[places] = places[local]
        if part == HALF[rank]:
            return Mix.pairs(local, lam[places]), turns[part]
    return Mix.pairs(partner, lam), turns


# Every other image, as the sampler distributes them.
HALF = slice(0, None, 2), slice(1, None, 2)


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    halves = (slice(0, 2), slice(0, U // 2)) if rank == 0 else (slice(2, None), slice(U // 2, None))
    found = {name: steps_of(name, *halves, processes=2) for name in NAMES}
    found |= {name: steps_of(name, HALF[rank], HALF[rank], processes=2) for name in POOLED}
    found['branch'] = steps_of('FixMatch', *halves, processes=2, partners=(0, 1))
    torch.save(found, f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    mp.start_processes(one_rank, (str(tmp_path),), nprocs=2, daemon=True, start_method=START_METHOD)
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    # Each process mixes its first two unlabelled images.
    of_one = {name: steps_of(name) for name in (*NAMES, *POOLED)}
    of_one['branch'] = steps_of('FixMatch', partners=(0, 1, 4, 5))
    for name, alone in of_one.items():
        for found in ranks:
            for one, other in zip(alone, found[name], strict=True):
                torch.testing.assert_close(
                    one, other, rtol=1e-9, atol=1e-12, msg=lambda told, name=name: f'{name}: {told}'
                )
