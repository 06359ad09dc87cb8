"""Buffers are kept while a module runs, and autograd allows it."""

import pytest
import torch
from torch import nn

from openmix.ops.kept_buffers import KeptBuffers


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


def test_batch_norm_normalises_by_the_batch_and_keeps_its_statistics():
    model, other, x = network(), network(), torch.randn(5, 3, 6, 6)
    buffers, before = dict(model.named_buffers()), {k: v.clone() for k, v in model.named_buffers()}
    with KeptBuffers(model):
        inside = model(x)
    assert torch.equal(inside, other(x))
    assert all(buffers[name] is buffer for name, buffer in model.named_buffers())
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_a_backward_pass_through_passes_of_both_kinds_runs():
    """Values that were copied back would make it raise, see the next test."""
    model, (x, y) = network(), torch.randn(2, 5, 3, 6, 6)
    plain = model(x).square().sum()
    with KeptBuffers(model):
        kept = model(y).square().sum()
    (plain + kept).backward()
    assert int(model[1].num_batches_tracked) == 1
    other = network()
    (other(x).square().sum() + other(y).square().sum()).backward()
    for a, b in zip(model.parameters(), other.parameters()):
        torch.testing.assert_close(a.grad, b.grad)


def test_why_values_are_not_copied_back():
    model, x = network(), torch.randn(5, 3, 6, 6)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    out = model(x)
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        out.sum().backward()


def test_an_error_inside_leaves_the_module_as_it_was():
    model = network()
    buffers = dict(model.named_buffers())
    with pytest.raises(RuntimeError), KeptBuffers(model):
        model(torch.randn(5, 2, 6, 6))
    assert all(buffers[name] is buffer for name, buffer in model.named_buffers())
