"""Parameters and multiply-adds of a classifier, counted without its weights."""

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
    """One row of the count.

    Attributes:
        name: dotted path below the classifier, 'backbone.layer1' or 'head'.
        output: shape of what it puts out for one image, without the batch; None where that is no tensor.
        parameters: trained or not, without buffers.
        multiply_adds: of convolutions and matrix products.
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
        parameters, multiply_adds: of backbone and head, as of `Stage`.
        stages: in the order in which they run; they add up to the whole.
    """

    shape: tuple[int, int, int]
    parameters: int
    multiply_adds: int
    stages: list[Stage]


@contextmanager
def attention_as_products() -> Iterator[None]:
    """Run attention as its matrix products, on every device.

    Torch's counter follows operators. On some devices one fused operator is all of an attention, or of a layer around
    it, and the counter knows no formula for it.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(backbone: nn.Module, head: nn.Module, shape: tuple[int, int], depth: int = 1) -> Complexity:
    """Parameters and multiply-adds of one image through backbone and head, in evaluation mode.

    Multiply-adds are those of convolutions and matrix products, attention included, as papers print
    them under the name FLOPs; norms, activations and additions are left out. Modules on the meta
    device run without storage.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        head: (N, D) -> (N, C).
        shape: (H, W) of the image.
        depth: of the rows below the backbone: 1 for its own children, 2 for theirs.

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
    # Torch counts a multiplication and an addition as two.
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
    """Descendants at that depth, and those above it that have no children, by dotted path."""
    found: dict[str, nn.Module] = {}
    for name, child in module.named_children():
        inner = _rows(child, depth - 1) if depth > 1 else {}
        found |= {f'{name}.{path}': part for path, part in inner.items()} or {name: child}
    return found


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(output: Any) -> tuple[int, ...] | None:
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else None
