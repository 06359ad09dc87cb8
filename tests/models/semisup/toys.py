"""A small network in float64, a batch of two pools and slow references, for the tests of semi-supervised methods."""

from __future__ import annotations

import copy
from math import exp, log

import torch
from torch import Tensor, nn

from openmix.models.semisup.base import SemiSupervised
from openmix.registry import MODELS

B, U, CLASSES, SIDE = 4, 8, 5, 4


class BranchOf:
    """Branches that tests of several methods share."""

    asymmetric = dict(
        policy=dict(type='Mixup', alpha=1.0),
        lam=(0, 0.5),
        loss=dict(type='decoupled_ce', sides='own', eta=0.1),
        statistics='kept',
    )


class Flat(nn.Module):
    """A linear layer and batch norm, which records the batches that it is given."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3 * SIDE * SIDE, 6), nn.BatchNorm1d(6)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return self.norm(self.linear(x.flatten(1)))


def method(name: str, seed: int = 0, std: float = 1.0, **options) -> SemiSupervised:
    """Build a method on the small network, in float64 and training mode."""
    torch.manual_seed(seed)
    head = dict(type='LinearHead', num_classes=CLASSES, init_std=std)
    return MODELS.build({'type': name, 'backbone': dict(type=Flat), 'head': head, **options}).double().train()


def batch(views: int, seed: int = 0, labelled: int = B, unlabelled: int = U, labelled_views: int = 1) -> dict:
    """Draw a batch of two pools with the views of every image; one view of a labelled image has no dimension for it."""
    g = torch.Generator().manual_seed(seed)

    def images(*shape: int) -> Tensor:
        return torch.randn(*shape, 3, SIDE, SIDE, generator=g, dtype=torch.float64)

    one = images(unlabelled, 1)
    return {
        'labelled': {
            'inputs': images(labelled) if labelled_views == 1 else images(labelled, labelled_views),
            'labels': torch.randint(CLASSES, (labelled,), generator=g),
            'ids': torch.arange(labelled),
        },
        'unlabelled': {
            'inputs': one + 0.5 * images(unlabelled, views),
            'true_labels': torch.randint(CLASSES, (unlabelled,), generator=g),
            'ids': torch.arange(unlabelled),
        },
    }


def batch_for(model: SemiSupervised, **options) -> dict:
    """Draw a batch with as many views as a method reads."""
    return batch(len(model.views), labelled_views=len(model.labelled_views), **options)


def trained_in(model: SemiSupervised) -> list[nn.Parameter]:
    """List the parameters that are trained: those of a momentum encoder are not."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def logits_of(model: SemiSupervised, *images: Tensor) -> list[list[list[float]]]:
    """Return what a copy of the network answers to several batches in one pass, as lists."""
    network = copy.deepcopy(model.online())
    with torch.no_grad():
        found = network(torch.cat(images)).split([len(one) for one in images])
    return [one.tolist() for one in found]


def softmax(z: list[float], temperature: float = 1.0) -> list[float]:
    powers = [exp(v / temperature - max(z) / temperature) for v in z]
    return [power / sum(powers) for power in powers]


def nll(z: list[float], c: int) -> float:
    return -log(softmax(z)[c])


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def total_of(model: SemiSupervised, losses: dict[str, Tensor]) -> Tensor:
    """Return what is minimised, as a training step sums it."""
    return model.parse_losses(losses)[0]
