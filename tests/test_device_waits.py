"""Test the detector of GPU syncs: it finds syncs by values and by copies, and accepts everything else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from device_waits import DEVICE, Waits, no_waits
from registered import registered

from openmix.losses.decoupled import decoupled_ce
from openmix.mix import Mix
from openmix.registry import LOSSES

WAITS = {
    'item': lambda z, at: z.sum().item(),
    'bool': lambda z, at: bool(z.sum() > 0),
    'int': lambda z, at: torch.arange(int(z.sum())),
    'float': lambda z, at: float(z.sum()),
    'range': lambda z, at: range(at[0]),
    'tolist': lambda z, at: z.tolist(),
    'numpy': lambda z, at: z.numpy(),
    'array': lambda z, at: np.asarray(z),
    'cpu': lambda z, at: z.cpu(),
    'to host': lambda z, at: z.to('cpu'),
    'copy to host': lambda z, at: torch.zeros(4, 3).copy_(z),
    'in': lambda z, at: 1.0 in z,
    'tensor': lambda z, at: torch.tensor([1.0], device=z.device),
    'scalar tensor': lambda z, at: torch.tensor(1.0, device=z.device),
    'as_tensor': lambda z, at: torch.as_tensor([1.0], device=z.device),
    'asarray': lambda z, at: torch.asarray([1.0], device=z.device),
    'new_tensor': lambda z, at: z.new_tensor([1.0]),
    'from_numpy': lambda z, at: torch.from_numpy(np.ones(3)).to(z.device),
    'to device': lambda z, at: torch.zeros(4, 3).to(z),
    'copy to device': lambda z, at: z.copy_(torch.zeros(4, 3)),
    'constant': lambda z, at: z + torch.tensor([1.0]),
    'range of the host': lambda z, at: z + torch.arange(3),
    'nonzero': lambda z, at: torch.nonzero(z),
    'where': lambda z, at: torch.where(z > 0),
    'argwhere': lambda z, at: torch.argwhere(z > 0),
    'unique': lambda z, at: torch.unique(z),
    'bincount': lambda z, at: torch.bincount(at),
    'multinomial': lambda z, at: torch.multinomial(z, 1),
    'repeat_interleave': lambda z, at: torch.repeat_interleave(z, at, 0),
    'one_hot': lambda z, at: F.one_hot(at),
    'equal': lambda z, at: torch.equal(z, z),
    'allclose': lambda z, at: torch.allclose(z, z),
    'split': lambda z, at: z.split(at[0]),
    'masked_select': lambda z, at: z.masked_select(z > 0),
    'mask': lambda z, at: z[z > 0.5],
    'number into a mask': lambda z, at: z.__setitem__(z > 0.5, 0.0),
    'list': lambda z, at: z[[0, 2]],
    'array index': lambda z, at: z[:, np.array([0, 2])],
    'index of the host': lambda z, at: z[torch.tensor([0, 2])],
    'index from the device': lambda z, at: z[at[0]],
    'number into an index': lambda z, at: z.__setitem__(at, 0.0),
    'number into a number': lambda z, at: z.__setitem__((0, 0), 1.0),
    'in a gradient': lambda z, at: Reads.apply(z.requires_grad_()).sum().backward(),
}
PASSES = {
    'number into a slice': lambda z, at: z.__setitem__(slice(2), 0),
    'number into a column': lambda z, at: z.__setitem__((slice(None), 0), 0.5),
    'fill_': lambda z, at: z[0, 0].fill_(1.0),
    'index': lambda z, at: z[at],
    'tensor into an index': lambda z, at: z.__setitem__(at, torch.zeros_like(z)),
    'where': lambda z, at: torch.where(z > 0, z, 0.0),
    'masked_fill': lambda z, at: z.masked_fill(z > 0, 0.0),
    'full': lambda z, at: torch.full((3,), 0.5, device=z.device) + z,
    'a number of the host': lambda z, at: z * torch.tensor(0.5),
    'one_hot': lambda z, at: F.one_hot(at, 5),
    'repeat_interleave': lambda z, at: torch.repeat_interleave(z, at, 0, output_size=8),
    'as_tensor': lambda z, at: torch.as_tensor(z, dtype=torch.float64),
    'on the host': lambda z, at: torch.tensor([1.0, 2.0])[torch.tensor([True, False])].tolist(),
    'dirichlet': lambda z, at: torch.distributions.Dirichlet(z.abs(), validate_args=False).sample(),
    'gradient': lambda z, at: (z.requires_grad_() ** 2).sum().backward(),
}


class Reads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.nonzero(grad).shape[0]


def run(call):
    with torch.device(DEVICE):
        z, at = torch.empty(4, 3), torch.empty(4, dtype=torch.int64)
    with no_waits():
        call(z, at)


@pytest.mark.parametrize('name', WAITS)
def test_a_wait_is_found(name):
    with pytest.raises(Waits):
        run(WAITS[name])


@pytest.mark.parametrize('name', PASSES)
def test_what_does_not_wait_passes(name):
    run(PASSES[name])


@pytest.mark.parametrize(
    ('name', 'options'),
    [*((name, {}) for name in sorted(registered(LOSSES))), ('decoupled_ce', decoupled_ce.published)],
)
def test_no_loss_waits_for_the_device(name, options):
    with torch.device(DEVICE):
        logits, y = torch.empty(8, 5, requires_grad=True), torch.empty(8, dtype=torch.int64)
        partner, lam = torch.empty(8, dtype=torch.int64), torch.empty(8)
    with no_waits():
        LOSSES.get(name)(logits, y, Mix.pairs(partner, lam), **options).backward()
    assert logits.grad.shape == logits.shape
