"""ODC: a step against a plain one, and the steps of two processes against those of one."""

import copy

import pytest
import torch
from torch import nn
from two_processes import in_two_processes, take_steps

from openmix.errors import InputError
from openmix.memory import training_keys
from openmix.registry import MODELS

IMAGES, N, K = 24, 6, 3
BACKBONE = dict(type='ThinResNet', depth=8, width=4)


class Images:
    """Random images that a data set would have; their second reading is without transforms."""

    def __init__(self):
        self.pixels = torch.rand(IMAGES, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def unaugmented(self):
        return self

    def __len__(self):
        return IMAGES

    def __getitems__(self, indices):
        ids = torch.tensor(list(indices))
        return {'inputs': self.pixels[ids], 'ids': ids}


def built(**options):
    torch.manual_seed(0)
    small = dict(clusters=K, width=5, hidden=8, least=4, centroids_every=2, dropout=0.0)
    model = MODELS.build(dict(type='ODC', backbone=BACKBONE) | small | options)
    model.bank.features.allocate(IMAGES)
    model.bank.labels.allocate(IMAGES)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.data_preprocessor.forward = lambda data, training=False: data
    torch.manual_seed(1)
    model.check_data(Images())
    model.read_data(Images())
    return model


def batch_of(step):
    ids = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(step))[:N]
    return {'inputs': Images().pixels[ids] + 0.1 * step, 'ids': ids}


def test_the_start():
    """Unit embeddings in evaluation mode without dropout, the labels of k-means, plain means."""
    model = built(dropout=0.9)
    assert model.training
    model.eval()
    with torch.no_grad():
        wanted = nn.functional.normalize(model.projector(model.backbone(Images().pixels)), dim=1)
    torch.testing.assert_close(model.bank.features.rows, wanted)
    labels = model.bank.labels.rows
    assert sorted(labels.unique().tolist()) == list(range(K))
    for k in range(K):
        torch.testing.assert_close(model.bank.centroids[k], wanted[labels == k].mean(0))


def test_a_step():
    """The loss reads the old labels and the weights of the old sizes; the bank then takes the new embeddings."""
    model = built(momentum=0.0).eval()
    bank, batch = copy.deepcopy(model.bank), batch_of(0)
    batch['inputs'] = batch['inputs'].roll(1, 0)  # of other images, so that labels change
    y = bank.labels.rows[batch['ids']]
    sizes = torch.bincount(bank.labels.rows, minlength=K)
    z = model.projector(model.backbone(batch['inputs']))
    wanted = nn.functional.cross_entropy(model.head(z), y, weight=sizes.double() ** -0.5)
    model.before_step(1, 10)
    losses = model.loss(batch)
    torch.testing.assert_close(losses['loss'], wanted, rtol=1e-6, atol=0)  # weights are float32
    assert bank.update(batch['ids'], z.detach()) > 0
    bank.maintain(1)
    for key, value in bank.state_dict().items():
        assert torch.equal(value, model.bank.state_dict()[key]), key


def test_the_backbone_alone_is_published():
    model = built()
    assert model.state_dict().keys() - training_keys(model) == {
        f'backbone.{key}' for key in model.backbone.state_dict()
    }
    assert {'bank.centroids', 'bank.features.rows', 'bank.labels.rows'} <= model.state_dict().keys()


@pytest.mark.parametrize(
    ('batch', 'said'),
    [
        (dict(inputs=torch.zeros(2, 2, 3, 16, 16), ids=torch.arange(2)), 'one view of every image'),
        (dict(inputs=torch.zeros(2, 3, 16, 16)), 'no ids'),
    ],
)
def test_batches_that_are_refused(batch, said):
    with pytest.raises(InputError, match=said):
        built().loss(batch)


def test_images_that_cannot_be_read_are_refused(monkeypatch):
    model = built()
    monkeypatch.setattr(Images, '__getitems__', lambda self, rows: {'inputs': self.pixels[:9], 'ids': torch.arange(9)})
    with pytest.raises(InputError, match='15 of 24 training images cannot be read'):
        model.read_data(Images())
    with torch.no_grad():
        model.projector[0].weight.fill_(torch.nan)
    monkeypatch.undo()
    with pytest.raises(InputError, match='not finite'):
        model.read_data(Images())


def steps_of(rows=slice(None), processes=1):
    model = built().eval()  # batch norm by its running statistics
    return take_steps(model, lambda step: {key: value[rows] for key, value in batch_of(step).items()}, processes)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    """The start, losses, gradients, and the banks, which are equal in both to the last bit."""
    one, two = in_two_processes(steps_of, N, tmp_path)
    for alone, first, second in zip(steps_of(), one, two, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(alone, first, rtol=1e-6, atol=1e-9)
