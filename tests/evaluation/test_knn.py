"""kNN accuracy against loops over single images, and its bank."""

import copy
from math import exp

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.evaluation.feature_bank import feature_bank
from openmix.evaluation.knn import KNNAccuracy, knn_votes


def units(n, seed):
    return nn.functional.normalize(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


@pytest.mark.parametrize(('k', 'temperature'), [(1, 0.1), (5, 0.1), (20, 1.0)])
def test_votes_are_those_of_single_images(k, temperature):
    x, bank, labels = units(7, 0), units(20, 1), torch.arange(20) % 3
    found = knn_votes(x, bank, labels, 3, k, temperature)
    for row, votes in zip(x, found):
        cosines = sorted(((float(row @ key), int(y)) for key, y in zip(bank, labels)), reverse=True)[:k]
        wanted = [sum(exp(c / temperature) for c, y in cosines if y == label) for label in range(3)]
        torch.testing.assert_close(votes / votes.sum(), torch.tensor(wanted).double() / sum(wanted))


def test_accuracy_counts_an_id_once_and_needs_a_bank():
    metric = KNNAccuracy(k=1)
    answer = dict(embedding=torch.eye(4)[[0, 1, 1]], labels=torch.tensor([0, 0, 0]), ids=torch.tensor([3, 5, 5]))
    with pytest.raises(InputError, match='FeatureBankHook'):
        metric.process(None, [answer])
    metric.bank = torch.eye(4), torch.tensor([0, 1, 2, 2])
    metric.process(None, [answer])
    assert metric.evaluate(3) == {'knn/top1': 50.0}


def test_a_bank_changes_nothing_and_holds_every_image_once():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def val_step(self, batch):
            assert not self.training
            return [{**batch, 'embedding': self.norm(batch['x'])}]

    model, x = Model().train(), units(6, 0).float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rows = torch.tensor([[0, 4, 1], [3, 5, 2], [0, 4, 1]])
    loader = [dict(x=x[row], labels=row % 2, ids=row) for row in rows]
    bank, labels = feature_bank(model, loader)
    torch.testing.assert_close(bank, copy.deepcopy(model).eval().norm(x))
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(InputError, match='no labels'):
        feature_bank(model, [dict(x=x, labels=None, ids=torch.arange(6))])
