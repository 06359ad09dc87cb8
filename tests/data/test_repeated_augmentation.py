import math

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from timm.data.distributed_sampler import RepeatAugSampler as TimmSampler

from openmix.data import sampler as module
from openmix.data.digits import Digits
from openmix.data.sampler import RepeatedAugSampler
from openmix.errors import InputError


def build(n, rank=0, world=1, monkeypatch=None, **kwargs):
    if monkeypatch:
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
    return RepeatedAugSampler(range(n), seed=3, **kwargs)


@pytest.mark.parametrize(
    ('n', 'world', 'repeats'), [(1000, 1, 3), (1000, 4, 3), (256, 4, 3), (1003, 3, 2), (300, 4, 5)]
)
def test_shows_the_samples_that_timm_shows(monkeypatch, n, world, repeats):
    for rank in range(world):
        ours = build(n, rank, world, monkeypatch, shuffle=False, repeats=repeats)
        timms = TimmSampler(range(n), world, rank, shuffle=False, num_repeats=repeats)
        assert [index % n for index in ours] == list(timms)
        assert len(ours) == len(timms) == len(list(ours))


@pytest.mark.parametrize(('n', 'world', 'repeats'), [(100, 4, 3), (10, 4, 5), (255, 2, 3)])
def test_sets_below_256_samples_are_not_rounded_down(monkeypatch, n, world, repeats):
    """As timm's newer releases mean it; the older ones show nothing of them."""
    copies = [index for index in range(n) for _ in range(repeats)]
    for rank in range(world):
        ours = build(n, rank, world, monkeypatch, shuffle=False, repeats=repeats)
        assert [index % n for index in ours] == copies[rank::world][: math.ceil(n / world)]
        assert len(ours) == math.ceil(n / world)


def test_an_epoch_is_a_permutation_of_a_third_with_three_draws_each():
    sampler = build(1000)
    indices = torch.tensor(list(sampler))
    assert len(indices) == len(sampler) == 768
    images, copies = indices % 1000, indices // 1000
    assert copies.tolist() == [0, 1, 2] * 256
    assert torch.equal(images[::3], images[2::3])
    assert len(set(images.tolist())) == 256
    assert len(set(indices.tolist())) == 768


def test_copies_go_to_different_processes(monkeypatch):
    order = [list(build(600, rank, 3, monkeypatch)) for rank in range(3)]
    assert len(order[0]) == math.floor(512 / 3)
    assert [[i // 600 for i in mine[:5]] for mine in order] == [[0] * 5, [1] * 5, [2] * 5]
    assert [i % 600 for i in order[0]] == [i % 600 for i in order[1]]


def test_order_is_a_function_of_seed_and_epoch_and_seeks():
    sampler = build(300)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    sampler.seek(100)
    assert list(sampler) == second[100:]
    assert list(sampler) == second
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_runs_in_a_loader_and_labels_fit():
    init_default_scope('openmix')
    data = Digits()
    loader = Runner.build_dataloader(
        dict(
            batch_size=64,
            num_workers=0,
            dataset=data,
            sampler=dict(type='RepeatedAugSampler', repeats=2),
            collate_fn=dict(type='identity_collate'),
        ),
        seed=1,
    )
    batches = list(loader)
    ids = torch.cat([batch['ids'] for batch in batches])
    assert len(ids) == len(data) // module._ROUND * module._ROUND
    assert ids.max() < len(data)
    assert torch.equal(torch.cat([batch['labels'] for batch in batches]), data.labels[ids])
    assert torch.equal(batches[0]['inputs'][3], data[int(batches[0]['ids'][3])]['inputs'])
    assert torch.equal(ids[::2], ids[1::2])


def test_bad_input():
    with pytest.raises(InputError, match=r'repeats must be an integer >= 1, got 1.5'):
        build(10, repeats=1.5)
