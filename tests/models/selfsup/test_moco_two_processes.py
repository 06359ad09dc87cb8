"""Two processes, each with half of every batch, take the steps of one where batch norm is frozen; queues stay equal."""

import pytest
import torch
from two_processes import in_two_processes, take_steps

from openmix.memory import equal_buffers, memories_in
from openmix.registry import MODELS

N, PARTNERS = 6, (1, 2, 0)
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
    'pools': dict(
        policy=dict(
            type='AMix',
            mixer_losses=[dict(type='mix_ce', of='labels'), dict(type='info_nce', of='queue_of_other_labels')],
        ),
        labels='given',
        classes=3,
    ),
    'siblings': MIXED | dict(views='cross', weights=(0, 1), negatives='batch'),
}


# Of two pools: in one process the labelled images are 0, 1, 3 and 4, in two the first two of each.
OF_POOLS = {6: (1, 4, 3, 5, 0, 2), 3: (1, 2, 0), 4: (1, 0, 3, 2), 2: (1, 0)}


def trained(name, rows=slice(None), processes=1):
    """Train some steps of a variant on a part of every batch; see `take_steps`."""
    options = VARIANTS[name]
    torch.manual_seed(0)
    model = MODELS.build(dict(type='MoCo', backbone=BACKBONE, width=5, queue=18, momentum=0.8) | options)
    for memory in memories_in(model):
        memory.allocate(18)
    if model.classes is not None and model.classes.bank is not None:
        model.classes.bank.fill(torch.randn(18, 5), torch.arange(18) % 3)
    model.start()
    model = model.double().eval()  # batch norm by its running statistics
    if model.policy is not None:
        model.policy = model.policy.holding(0.3)

    def batch_of(step):
        images = torch.randn(N, 2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        images, ids = images[rows], (torch.arange(N) * 5 + step)[rows] % 18
        if name != 'pools':
            return {'inputs': images, 'ids': ids}
        own = torch.arange(len(images)) % 3 < 2
        return {'labelled': {'inputs': images[own], 'labels': ids[own] % 3}, 'unlabelled': {'inputs': images[~own]}}

    def pairs(kind, n, device):
        if name == 'pools':
            return torch.tensor(OF_POOLS[n])
        return torch.tensor([start + partner for start in range(0, n, 3) for partner in PARTNERS])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.models.selfsup.moco.partners_of', pairs)
        return take_steps(model, batch_of, processes)


def keys_of(rows=slice(None), processes=1):
    """The keys of a batch by batch norm of training, shuffled; alone, those of two halves of the order of rank 0."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type='MoCo', backbone=BACKBONE, width=5, queue=18)).double()
    model.start()
    x = torch.randn(N, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(rows.start or 0)
    if processes == 2:
        return model.keys(x[rows])
    order = torch.randperm(N)
    assert sorted(order[:3].tolist()) not in ([0, 1, 2], [3, 4, 5])  # both halves are of images of both processes
    return torch.cat([model.keys(x[half]) for half in order.chunk(2)])[order.argsort()]


def steps_of(rows=slice(None), processes=1):
    return {name: trained(name, rows, processes) for name in VARIANTS} | {'keys': keys_of(rows, processes)}


@pytest.mark.parametrize('name', VARIANTS)
def test_queue_classes_and_bank_are_not_broadcast(name):
    """Fault: they are sent in every step, and rank 0's replace those of the others."""
    model = MODELS.build(dict(type='MoCo', backbone=BACKBONE, width=5, queue=18) | VARIANTS[name])
    for memory in memories_in(model):
        memory.allocate(18)
    wanted = {'queue', 'position'}
    if name in ('clusters', 'pools'):
        wanted |= {'classes.queue'}
    if name == 'clusters':
        wanted |= {f'classes.bank.{part}' for part in ('centroids', 'features.rows', 'labels.rows')}
    assert equal_buffers(model).keys() == wanted


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    """Every image's gradient arrives, and both queues hold the keys of both processes, in the order of their ranks."""
    alone, ranks = steps_of(), in_two_processes(steps_of, N, tmp_path)
    shuffled = torch.cat([found['keys'] for found in ranks])
    torch.testing.assert_close(shuffled, alone['keys'])
    for name in VARIANTS:
        # Masks are of float32.
        learned = name in ('learned', 'clusters', 'pools')
        close = dict(rtol=1e-4, atol=1e-6) if learned else dict(rtol=1e-9, atol=1e-12)
        for one, first, second in zip(alone[name], *(found[name] for found in ranks), strict=True):
            torch.testing.assert_close(first, second, **close)
            if name != 'pools' or one.shape[:1] != (18,):  # where the images of a batch stand in another order
                torch.testing.assert_close(one, first, **close)
