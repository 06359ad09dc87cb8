"""Keep the buffers of a module, such as batch-norm statistics, while it runs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class KeptBuffers:
    """Make a module write to copies of its buffers while entered; afterwards it has its own again, unchanged.

    In training mode, batch norm then normalises by the batch and keeps its running statistics. Values are not copied
    back, because autograd refuses the backward pass of a batch norm whose buffers were written in place meanwhile.

    It is a class, because a generator cannot be entered again, as a second backward pass through a retained graph does.

    Args:
        module: the module; its submodules are included.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        for module in self.module.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    self.kept.append((module, name, buffer))
                    module._buffers[name] = buffer.clone()

    def __exit__(self, *error: Any) -> None:
        for module, name, buffer in self.kept:
            module._buffers[name] = buffer
        self.kept.clear()
