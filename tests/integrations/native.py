"""The loop that every integration is compared with: the policy, the model and the loss called by hand."""

import torch
from torch import nn

from openmix.losses import mix_ce
from openmix.mixups import MixPolicy, OneOf
from openmix.registry import MIXUPS

STEPS, BATCH, CLASSES = 20, 6, 4


class Seeded(MixPolicy):
    """A policy whose n-th call draws from seed n, whatever the loop around it draws."""

    def __init__(self, policy):
        super().__init__()
        self.policy, self.calls, self.epochs = policy, 0, []

    def forward(self, z, context=None, pairs=None):
        self.calls += 1
        with torch.random.fork_rng():
            torch.manual_seed(self.calls)
            return self.policy(z, context, pairs)

    def before_epoch(self, epoch):
        self.epochs.append(epoch)


def policy():
    """Both of the usual policies, drawn for every sample."""
    children = [{'type': 'Mixup', 'alpha': 0.8}, {'type': 'CutMix'}]
    return Seeded(OneOf([MIXUPS.build(child) for child in children], share='sample'))


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, CLASSES))


def optimizer(network):
    return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def samples(count=30):
    """Return (image, label) pairs."""
    torch.manual_seed(2)
    return list(zip(torch.rand(count, 3, 8, 8), torch.arange(count) % CLASSES))


def batches():
    """Return `STEPS` batches of the samples in their order, as a loader without shuffling gives them."""
    data = samples()
    starts = list(range(0, len(data), BATCH)) * (STEPS * BATCH // len(data))
    made = [data[start : start + BATCH] for start in starts]
    return [(torch.stack([x for x, _ in one]), torch.stack([y for _, y in one])) for one in made]


def losses(given=None, mixing=None, loss=mix_ce):
    """Train on the batches by hand; return the loss of each step."""
    network, mixing, found = model(), mixing or policy(), []
    steps = optimizer(network)
    for images, labels in given or batches():
        mixed, mix = mixing(images)
        value = loss(network(mixed), labels, mix)
        steps.zero_grad()
        value.backward()
        steps.step()
        found.append(value.item())
    assert len(found) == STEPS
    assert len(set(found)) == STEPS
    return found
