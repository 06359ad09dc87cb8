"""A function that is kept out of `torch.compile`, as one that registers hooks or raises through a forward pass."""

import pytest
import torch
from torch import nn

from openmix.uncompiled import uncompiled


@pytest.fixture
def traced():
    """Collect the operations of every graph that is compiled by `compiler`."""
    torch._dynamo.reset()
    found = []

    def compiler(graph, example):
        found.extend(str(node.target) for node in graph.graph.nodes if node.op.startswith('call'))
        return graph

    yield found, compiler
    torch._dynamo.reset()


def inner(x):
    return x.cos()


@uncompiled
def kept_out(x):
    return inner(x.sin())


def test_it_and_what_it_calls_are_not_traced(traced):
    found, compiler = traced

    def whole(x):
        return kept_out(x.exp()).tanh()

    compiled = torch.compile(whole, backend=compiler)
    for length in (2, 3, 2):
        x = torch.rand(length)
        assert torch.equal(compiled(x), whole(x))
    assert {'exp', 'tanh'} <= set(found)
    assert not {'sin', 'cos'} & set(found)


def test_a_hook_of_a_compiled_module_is_not_traced(traced):
    found, compiler = traced
    module = nn.Tanh()
    module.register_forward_hook(lambda _, __, out: kept_out(out))
    module.compile(backend=compiler)
    x = torch.rand(3)
    assert torch.equal(module(x), x.tanh().sin().cos())
    assert found
    assert not {'sin', 'cos'} & set(found)


def test_a_compiled_module_in_it_runs_hooks_of_later(traced):
    found, compiler = traced
    module = nn.Sequential(nn.Tanh())
    module.compile(backend=compiler)
    x = torch.rand(3)
    assert torch.equal(module(x), x.tanh())
    before = len(found)

    @uncompiled
    def doubled(x):
        handle = module[0].register_forward_hook(lambda _, __, out: 2 * out)
        try:
            return module(x)
        finally:
            handle.remove()

    assert torch.equal(doubled(x), 2 * x.tanh())
    assert torch.equal(module(x), x.tanh())
    assert len(found) == before > 0
