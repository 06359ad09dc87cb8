"""Automatic mixed precision on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from openmix.errors import InputError, check_choice
from openmix.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under autocast; float16 gradients are scaled.

    Weights and losses stay float32; evaluation runs without autocast. If float16 gradients overflow,
    the step is skipped and the scale is halved.

    Args:
        dtype: 'bfloat16' on any device, 'float16' on a GPU.
        kwargs: arguments of mmengine's `OptimWrapper`.

    Raises:
        InputError: another dtype, or float16 on the CPU.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice('AutocastOptimWrapper: dtype', dtype, ('bfloat16', 'float16'))
        self.device = get_device()
        if dtype == 'float16' and self.device == 'cpu':
            raise InputError("AutocastOptimWrapper: float16 needs a GPU; use dtype='bfloat16' on the CPU")
        self.dtype = getattr(torch, dtype)
        self.scaler = torch.amp.GradScaler(self.device, enabled=dtype == 'float16')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        # No cache: in older torch a weight that a policy first used under no_grad would get no gradient.
        with super().optim_context(model), torch.autocast(self.device, self.dtype, cache_enabled=False):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        # Unscale before any clipping, also that in hooks: a fused optimiser would unscale only inside its step.
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def state_dict(self) -> dict:
        return super().state_dict() | {'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        if scaler := state_dict.pop('scaler', None):
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
