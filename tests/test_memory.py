"""What a method remembers of every training image."""

import copy

import pytest
import torch
from torch import nn

from openmix.engine.checkpoint import check_weights, put_weights
from openmix.errors import InputError
from openmix.memory import (
    BatchMemory,
    SampleMemory,
    equal_buffers,
    images_in,
    memories_in,
    memory_keys,
    training_keys,
)


class Remembering(nn.Module):
    def __init__(self, images=None):
        super().__init__()
        self.layer, self.inner = nn.Linear(2, 2), nn.ModuleDict({'seen': SampleMemory(3, fill=-1.0)})
        if images is not None:
            self.inner['seen'].allocate(images)


def test_rows_are_written_and_read_and_of_equal_places_the_later_stays():
    memory = SampleMemory(2, fill=-1.0)
    memory.allocate(4)
    assert memory.read(torch.tensor([3, 0])).tolist() == [[-1, -1], [-1, -1]]
    values = torch.arange(6.0, requires_grad=True).view(3, 2)
    memory.write(torch.tensor([2, 1, 2]), values)  # not in the order of the rows
    assert memory.rows.tolist() == [[-1, -1], [2, 3], [4, 5], [-1, -1]]
    assert not memory.rows.requires_grad
    count = SampleMemory(dtype=torch.int64)
    count.allocate(3)
    count.write(torch.tensor([1]), count.read(torch.tensor([1])) + 1)
    assert count.rows.tolist() == [0, 1, 0]


def test_an_occurrence_that_does_not_count_leaves_what_another_one_writes():
    memory = SampleMemory(fill=-1, dtype=torch.int64)
    memory.allocate(4)
    memory.write(torch.tensor([3]), torch.tensor([9]))
    ids, values = torch.tensor([1, 2, 1, 1, 3, 2]), torch.tensor([10, 20, 11, 12, 30, 21])
    memory.write(ids, values, torch.tensor([True, False, True, False, False, True]))
    assert memory.rows.tolist() == [-1, 11, 21, 9]
    wide = SampleMemory(2)
    wide.allocate(2)
    wide.write(torch.tensor([0, 0]), torch.ones(2, 2), torch.tensor([True, False]))
    assert wide.rows.tolist() == [[1, 1], [0, 0]]


def test_without_rows_it_is_told_in_a_line_but_a_recipe_can_be_tried():
    with pytest.raises(InputError, match='no rows before a runner allocates them'):
        SampleMemory(2).read(torch.tensor([0]))
    ids = torch.arange(5, device='meta')
    memory = SampleMemory(2)
    memory.write(ids, memory.read(ids))
    assert memory.read(ids).shape == (5, 2)
    assert memory.rows is None


def test_a_resumed_run_needs_its_rows_and_anything_else_leaves_them(tmp_path):
    trained = Remembering(5)
    trained.inner['seen'].write(torch.tensor([1]), torch.ones(1, 3))
    state = copy.deepcopy(trained.state_dict())
    assert memory_keys(trained) == {'inner.seen.rows'} == state.keys() - Remembering().state_dict().keys()
    with pytest.raises(InputError, match=r"'inner.seen.rows' is \(5, 3\), not \(4, 3\)"):
        check_weights(Remembering(4).state_dict(), state, 'x')
    evaluated, other = Remembering(), Remembering(4)
    for model in (evaluated, other):
        put_weights(model, {'state_dict': state}, 'x')
        assert torch.equal(model.layer.weight, trained.layer.weight)
    assert evaluated.inner['seen'].rows is None
    assert other.inner['seen'].rows.eq(-1).all()
    del state['layer.bias']
    with pytest.raises(InputError, match=r"missing 'layer\.bias'"):
        put_weights(evaluated, {'state_dict': state}, 'x')


class Contrasting(nn.Module):
    of_training = frozenset({'encoder', 'queue'})

    def __init__(self, queue=4):
        super().__init__()
        self.layer, self.encoder = nn.Linear(2, 3), nn.Linear(2, 3)
        self.register_buffer('queue', torch.randn(queue, 3))


def test_what_training_alone_needs_may_be_missing_as_a_whole():
    trained, other = nn.Sequential(Contrasting()), nn.Sequential(Contrasting())
    state, own = trained.state_dict(), copy.deepcopy(other.state_dict())
    assert training_keys(trained) == {'0.encoder.weight', '0.encoder.bias', '0.queue'}
    published = {key: value for key, value in state.items() if key.startswith('0.layer')}
    put_weights(other, {'state_dict': published}, 'x')
    for key, value in other.state_dict().items():
        assert torch.equal(value, (state if key.startswith('0.layer') else own)[key])
    put_weights(other, {'state_dict': state}, 'x')
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    with pytest.raises(InputError, match=r"missing '0\.queue'"):
        put_weights(other, {'state_dict': {key: value for key, value in state.items() if key != '0.queue'}}, 'x')
    with pytest.raises(InputError, match=r"'0\.queue' is \(4, 3\), not \(5, 3\)"):
        put_weights(nn.Sequential(Contrasting(5)), {'state_dict': state}, 'x')


def test_a_part_that_is_not_there_is_no_part_of_training(monkeypatch):
    monkeypatch.setattr(Contrasting, 'of_training', frozenset({'key'}))
    with pytest.raises(InputError, match="Contrasting: of_training names 'key', which is no part of it"):
        training_keys(Contrasting())


def test_how_many_rows_the_data_have():
    class TwoPools(list):
        parts = {'labelled': [0] * 2, 'unlabelled': [0] * 7}

    assert images_in([0] * 4, None) == 4
    assert images_in(TwoPools(), 'unlabelled') == 7
    assert [memory.pool for memory in memories_in(Remembering())] == [None]
    for dataset, pool, line in (
        ([0], 'unlabelled', "of a pool 'unlabelled'; the data set has one"),
        (TwoPools(), None, 'of data of one pool; the data set has the pools labelled, unlabelled'),
        (TwoPools(), 'other', "of a pool 'other'; the data set has the pools labelled, unlabelled"),
    ):
        with pytest.raises(InputError, match=line):
            images_in(dataset, pool)


def test_a_batch_memory_has_the_rows_of_the_last_batch():
    """Rows are repeated for a larger batch, and its state is loaded whatever its size."""
    memory = BatchMemory('images', 'labels')
    assert memory.read(2) is None
    memory.write(images=torch.arange(6.0).view(3, 2), labels=torch.tensor([5, 6, 7]))
    memory.write(images=torch.arange(4.0).view(2, 2), labels=torch.tensor([8, 9]))
    assert memory.read(5)['labels'].tolist() == [8, 9, 8, 9, 8]
    assert memory.read(1)['images'].tolist() == [[0.0, 1.0]]
    other = BatchMemory('images', 'labels')
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.images, memory.images)
    assert other.labels.tolist() == [8, 9]
    assert equal_buffers(torch.nn.ModuleDict({'one': other})).keys() == {'one.images', 'one.labels'}
    assert memory_keys(torch.nn.ModuleDict({'one': other})) == {'one.images', 'one.labels'}
