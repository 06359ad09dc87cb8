"""Two processes, each with half of every batch, take the steps of one where batch norm is frozen; queues stay equal."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope

from openmix.memory import equal_buffers, memories_in
from openmix.registry import MODELS

N, STEPS, PARTNERS = 6, 5, (1, 2, 0)
BACKBONE = dict(type='ThinResNet', depth=8, width=4)
MIXED = dict(policy=dict(type='Mixup'))
VARIANTS = {
    'clean': {},
    'cross': MIXED | dict(views='cross'),
    'both': MIXED | dict(views='both'),
    'learned': dict(
        policy=dict(type='AMix', mixer_losses=[dict(type='info_nce', of='queue'), dict(type='pair_bce', of='keys')]),
        views='both',
    ),
    'clusters': dict(
        policy=dict(
            type='AMix',
            mixer_losses=[dict(type='mix_ce', of='labels'), dict(type='info_nce', of='queue_of_other_labels')],
        ),
        labels='clusters',
        bank=dict(type='ClusterBank', clusters=3, momentum=0.0, least=2, centroids_every=2),
    ),
    'siblings': MIXED | dict(views='cross', weights=(0, 1), negatives='batch'),
}


def steps_of(options, rows=slice(None), processes=1):
    """Train some steps on a part of every batch; return losses, gradients and queue of each step."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type='MoCo', backbone=BACKBONE, width=5, queue=18, momentum=0.8) | options)
    for memory in memories_in(model):
        memory.allocate(18)
    if model.classes is not None:
        model.classes.bank.fill(torch.randn(18, 5), torch.arange(18) % 3)
    model.start()
    model = model.double().eval()  # batch norm by its running statistics
    if model.policy is not None:
        model.policy = model.policy.holding(0.3)
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(STEPS):
        images = torch.randn(N, 2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        mine = images[rows]
        pairs = torch.tensor([start + partner for start in range(0, len(mine), 3) for partner in PARTNERS])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('openmix.models.selfsup.moco.partners_of', lambda *_, pairs=pairs: pairs)
            losses = model.loss({'inputs': mine, 'ids': (torch.arange(N) * 5 + step)[rows] % 18})
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        values = [value.detach() for value in losses.values()] + [p.grad for p in trained]
        for value in values if processes > 1 else ():
            dist.all_reduce(value)  # the mean over processes, as DDP takes it of gradients
            value /= processes
        optimizer.step()
        model.after_step()
        found += [value.clone() for value in values] + [value.clone() for value in equal_buffers(model).values()]
    return found


def one_rank(rank, folder):
    torch.set_num_threads(1)
    init_default_scope('openmix')
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    half = slice(0, 3) if rank == 0 else slice(3, None)
    torch.save({name: steps_of(options, half, 2) for name, options in VARIANTS.items()}, f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    """Every image's gradient arrives, and both queues hold the keys of both processes, in the order of their ranks."""
    mp.spawn(one_rank, (str(tmp_path),), nprocs=2, daemon=True)
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    for name, options in VARIANTS.items():
        alone = steps_of(options)
        # Masks are of float32.
        close = dict(rtol=1e-4, atol=1e-6) if name in ('learned', 'clusters') else dict(rtol=1e-9, atol=1e-12)
        for found in ranks:
            for one, other in zip(alone, found[name], strict=True):
                torch.testing.assert_close(one, other, **close)
