"""Count the parameters and multiply-adds of a classifier, without allocating its weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from openmix.errors import check_number


@dataclass(frozen=True)
class Stage:
    """One row of the count: a module.

    Attributes:
        name: dotted name of the module within the classifier, such as 'backbone.layer1' or 'head'.
        output: shape of its output for one image, without the batch dimension; None if it is not a tensor.
        parameters: number of parameters, trained or frozen; buffers are not counted.
        multiply_adds: number of multiply-adds in convolutions and matrix products.
    """

    name: str
    output: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Complexity:
    """Parameters and multiply-adds of a model for one image.

    Attributes:
        shape: (C, H, W) of the image.
        parameters, multiply_adds: totals of backbone and head, counted as in `Stage`.
        stages: the rows, whose counts add up to these totals.
    """

    shape: tuple[int, int, int]
    parameters: int
    multiply_adds: int
    stages: list[Stage]


@contextmanager
def attention_as_products() -> Iterator[None]:
    """Run attention as separate matrix products, on every device.

    Torch's FLOP counter counts operators. On some devices attention, or a whole transformer layer, is one fused
    operator that the counter has no formula for.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(backbone: nn.Module, head: nn.Module, shape: tuple[int, int], depth: int = 1) -> Complexity:
    """Count parameters and multiply-adds of one image through backbone and head, in evaluation mode.

    Multiply-adds are those of convolutions and matrix products, attention included; papers report them
    as FLOPs. Norms, activations and additions are not counted. Modules on the meta device need no memory.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        head: (N, D) -> (N, C).
        shape: (H, W) of the image.
        depth: level of the rows within the backbone: 1 for its children, 2 for their children.

    Raises:
        InputError: the shape or the depth is not positive.
    """
    for name, value in (('height', shape[0]), ('width', shape[1]), ('depth', depth)):
        check_number(f'complexity: {name}', value, 1)
    classifier = nn.Sequential(OrderedDict(backbone=backbone, head=head)).eval()
    rows = _rows(backbone, depth)
    named = {f'backbone.{name}': module for name, module in rows.items()} | {'head': head}
    outputs: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: outputs.setdefault(name, out))
        for name, module in named.items()
    ]
    device = next(classifier.parameters()).device
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), attention_as_products(), counter:
            classifier(torch.empty(1, 3, *shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    # Torch counts a multiply-add as two operations.
    flops = {module: sum(of_op.values()) // 2 for module, of_op in counter.get_flop_counts().items()}
    stages = [
        Stage(name, _shape(outputs.get(name)), _parameters(module), flops.get(f'Sequential.{name}', 0))
        for name, module in named.items()
    ]
    whole = Stage('', None, _parameters(classifier), flops['Global'])
    rest = Stage(
        'backbone, other',
        None,
        whole.parameters - sum(stage.parameters for stage in stages),
        whole.multiply_adds - sum(stage.multiply_adds for stage in stages),
    )
    shown = [stage for stage in (*stages[:-1], rest, stages[-1]) if stage.parameters or stage.multiply_adds]
    return Complexity((3, *shape), whole.parameters, whole.multiply_adds, shown)


def _rows(module: nn.Module, depth: int) -> dict[str, nn.Module]:
    """Find the descendants at a depth, and those above it without children, by dotted name."""
    found: dict[str, nn.Module] = {}
    for name, child in module.named_children():
        inner = _rows(child, depth - 1) if depth > 1 else {}
        found |= {f'{name}.{path}': part for path, part in inner.items()} or {name: child}
    return found


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(output: Any) -> tuple[int, ...] | None:
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else None
