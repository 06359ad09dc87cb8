"""The gradient of a classifier's loss with respect to its input; parameters' `.grad` stays untouched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from openmix.ops.kept_buffers import KeptBuffers


def input_gradient(model: nn.Module, x: Tensor, y: Tensor, training: bool = False) -> Tensor:
    """Compute the (N, ...) gradient of the summed cross-entropy of `model(x)` with respect to `x`.

    No parameter gradient is computed or changed; batch-norm statistics and modes are unchanged afterwards.

    Args:
        model: (N, ...) -> (N, C) logits.
        x: (N, ...) floating point.
        y: (N,) int64 labels, or (N, C) class probabilities.
        training: run in training mode, with dropout and batch statistics; running statistics are not updated.
    """
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    # In evaluation mode nothing is written.
    kept = KeptBuffers(model) if training else nullcontext()
    with torch.enable_grad(), mode_of(model, training), kept:
        return functional_call(_InputGradient(model), {f'model.{name}': value for name, value in state.items()}, (x, y))


class _InputGradient(nn.Module):
    """Run the backward pass inside the forward pass, so that gradient checkpointing recomputes with the same state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(self.model(x).float(), y, reduction='sum')
        return torch.autograd.grad(loss, x)[0]


def trained_input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the input gradient in an ordinary training pass; also return its mean cross-entropy, to train on."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(model(x).float(), y)
        (gradient,) = torch.autograd.grad(loss * len(x), x, retain_graph=True)
    return gradient, loss


@contextmanager
def mode_of(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module in training or evaluation mode, and restore each module's own mode afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training
