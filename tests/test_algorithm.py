"""Test the base class of algorithms: its defaults and its error lines."""

import pytest
import torch
from torch import nn

from openmix.algorithm import Algorithm, Network, algorithm_of, logits_of
from openmix.errors import InputError
from openmix.facts import Facts


class Regressor(Algorithm):
    """A minimal algorithm without a classifier and labels."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(3, 1)

    def loss(self, batch):
        return {'loss': self.backbone(batch['inputs']).square().mean()}

    def predict(self, batch):
        return {'embedding': self.backbone(batch['inputs']), 'ids': batch['ids']}


def test_a_batch_goes_to_loss_and_predict_by_mode_with_every_entry():
    model, x = Regressor(), torch.randn(4, 3)
    assert model(x, mode='loss').keys() == {'loss'}
    (answer,) = model(inputs=x, ids=torch.arange(4), mode='predict')
    assert torch.equal(answer['ids'], torch.arange(4))
    seen = []
    model.loss = lambda batch: seen.append(batch)
    model(labelled={'inputs': x}, unlabelled={'inputs': x}, mode='loss')
    assert seen[0].keys() == {'labelled', 'unlabelled'}


def test_the_loss_that_is_recorded_is_the_one_that_is_minimised():
    """Also where a part has its name, as that of a classifier beside those of a method."""
    parts = {'loss': torch.tensor(1.0), 'aux_loss': torch.tensor(2.0), 'rate': torch.tensor(5.0)}
    total, recorded = Regressor().parse_losses(parts)
    assert total == 3
    assert {key: value.item() for key, value in recorded.items()} == {'loss': 3, 'aux_loss': 2, 'rate': 5}


def test_without_a_classifier_a_command_that_needs_one_is_told_in_a_line():
    model = Regressor()
    assert model.networks() == {}
    with pytest.raises(InputError, match='an export needs a classifier, and Regressor trains none'):
        model.network('an export')
    with pytest.raises(InputError, match='needs a classifier'):
        model(torch.randn(1, 3))
    with pytest.raises(InputError, match="mode must be 'tensor', 'predict' or 'loss', got 'test'"):
        model(torch.randn(1, 3), mode='test')
    with pytest.raises(InputError, match='Linear is no model that can be trained'):
        algorithm_of(nn.Linear(1, 1))


def test_a_network_holds_its_parts_and_none_of_its_own():
    backbone, head = nn.Linear(3, 2), nn.Linear(2, 4)
    network = Network(backbone, head)
    assert network.backbone is backbone
    x = torch.randn(5, 3)
    torch.testing.assert_close(network(x), head(backbone(x)))


def test_heads_that_share_a_backbone_share_its_pass():
    calls = []
    backbone = nn.Linear(3, 2)
    backbone.register_forward_hook(lambda *_: calls.append(1))
    other = nn.Linear(3, 2)
    networks = {
        '': Network(backbone, nn.Linear(2, 4)),
        'a': Network(backbone, nn.Linear(2, 4)),
        'b': Network(other, nn.Linear(2, 4)),
    }
    x = torch.randn(5, 3)
    found = logits_of(networks, x)
    assert len(calls) == 1
    assert list(found) == ['', 'a', 'b']
    for name, network in networks.items():
        assert torch.equal(found[name], network(x))


def test_the_data_complete_the_preprocessor_and_what_is_stated_stays():
    facts = Facts('toy', ('a', 'b'), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), (8, 8))
    model = {'type': 'Regressor', 'data_preprocessor': {'type': 'ImagePreprocessor', 'std': (2.0, 2.0, 2.0)}}
    Regressor.complete(model, facts)
    assert model['data_preprocessor'] == {'type': 'ImagePreprocessor', 'mean': (0.1, 0.2, 0.3), 'std': (2.0, 2.0, 2.0)}


def test_a_preprocessor_of_ones_own_gets_what_it_takes():
    class Bare(nn.Module):
        def __init__(self, mean=None):
            super().__init__()

    facts = Facts('toy', ('a', 'b'), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), (8, 8))
    model = {'type': 'Regressor', 'data_preprocessor': {'type': Bare}}
    Regressor.complete(model, facts)
    assert model['data_preprocessor'] == {'type': Bare, 'mean': (0.1, 0.2, 0.3)}
