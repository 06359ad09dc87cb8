import torch
from torch.utils.data import ConcatDataset, DataLoader, default_collate

from openmix.data.collate import identity_collate
from openmix.data.digits import Digits
from openmix.registry import DATASETS, FUNCTIONS


def test_counts_and_disjoint_splits():
    train, test = Digits(), Digits('test')
    assert (len(train), len(test)) == (1442, 355)
    assert train.array.shape == (1442, 3, 16, 16)
    assert train.array.dtype == torch.uint8
    rest, val = Digits('train', val_fraction=0.1), Digits('val', val_fraction=0.1)
    assert len(rest) + len(val) == 1442
    assert not set(rest.rows.tolist()) & set(val.rows.tolist())
    assert torch.bincount(Digits('train', subset=50).labels).tolist() == [5] * 10


def test_facts_are_those_of_the_images():
    train, facts = Digits(), DATASETS.get('Digits').facts(split='train')
    pixels = train.array / 255
    assert torch.allclose(pixels.mean((0, 2, 3)), torch.tensor(facts.mean), atol=1e-3)
    assert torch.allclose(pixels.std((0, 2, 3)), torch.tensor(facts.std), atol=1e-3)
    assert train.array.shape[2:] == facts.size
    assert train.metainfo['classes'] == facts.classes == tuple('0123456789')
    assert (train.array.amin(), train.array.amax()) == (0, 255)


def test_one_sample_and_a_batch_agree():
    data = Digits('test')
    batch = data.__getitems__([3, 0, 354])
    assert batch['ids'].tolist() == [3, 0, 354]
    assert torch.equal(batch['labels'], data.labels[[3, 0, 354]])
    for i, index in enumerate((3, 0, -1)):
        one = data[index]
        assert all(torch.equal(one[key], batch[key][i]) for key in ('inputs', 'labels', 'ids'))
    assert sum(1 for _ in data) == len(data)  # iteration ends by IndexError


def test_loader_answers_whole_batches_whatever_the_workers():
    data = Digits('test')
    seen = []
    for workers in (0, 2):
        loader = DataLoader(data, batch_size=100, num_workers=workers, collate_fn=FUNCTIONS.get('identity_collate'))
        batches = list(loader)
        assert [len(b['labels']) for b in batches] == [100, 100, 100, 55]
        seen.append({key: torch.cat([b[key] for b in batches]) for key in batches[0]})
    assert all(torch.equal(seen[0][key], seen[1][key]) for key in seen[0])
    assert torch.equal(seen[0]['ids'], torch.arange(355))
    assert torch.equal(seen[0]['inputs'], data.array)


def test_collate_stacks_samples_of_wrapped_data_sets():
    data = Digits('test')
    wrapped = ConcatDataset([data, data])
    batch = next(iter(DataLoader(wrapped, batch_size=4, collate_fn=identity_collate)))
    expected = default_collate([data[i] for i in range(4)])
    assert all(torch.equal(batch[key], expected[key]) for key in expected)
