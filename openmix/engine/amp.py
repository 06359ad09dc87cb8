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

_MEASURED = ('bfloat16', 'float32')


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under autocast; float16 gradients are scaled.

    With `dtype='auto'` the run measures at its start whether bfloat16 or float32 is faster, see
    `openmix.engine.precision`; the choice is in its checkpoints, and a resumed run keeps it. Weights and losses stay
    float32; evaluation runs without autocast. If float16 gradients overflow,
    the step is skipped and the scale is halved.

    Args:
        dtype: 'bfloat16' or 'auto' on any device, 'float16' on a GPU.
        kwargs: arguments of mmengine's `OptimWrapper`.

    Raises:
        InputError: another dtype, or float16 on the CPU.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice('AutocastOptimWrapper: dtype', dtype, ('auto', 'bfloat16', 'float16'))
        self.device = get_device()
        if dtype == 'float16' and self.device == 'cpu':
            raise InputError("AutocastOptimWrapper: float16 needs a GPU; use dtype='bfloat16' on the CPU")
        self.measures, self.precision = dtype == 'auto', dtype
        self.scaler = torch.amp.GradScaler(self.device, enabled=dtype == 'float16')

    def settle(self, precision: str) -> None:
        """Take 'bfloat16' or 'float32' for the whole run, where `dtype` is 'auto'.

        Raises:
            InputError: it is neither.
        """
        check_choice('AutocastOptimWrapper: the precision that was measured', precision, _MEASURED)
        self.precision = precision

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        # No cache: in older torch a weight that a policy first used under no_grad would get no gradient.
        if self.precision == 'auto':
            raise InputError("AutocastOptimWrapper: dtype='auto' is for the Runner, which measures; give a dtype here")
        cast = self.precision != 'float32'
        dtype = getattr(torch, self.precision) if cast else torch.bfloat16
        with super().optim_context(model), torch.autocast(self.device, dtype, enabled=cast, cache_enabled=False):
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
        chosen = {'precision': self.precision} if self.measures else {}
        return super().state_dict() | {'scaler': self.scaler.state_dict()} | chosen

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        if (chosen := state_dict.pop('precision', None)) not in (None, 'auto') and self.measures:
            self.settle(chosen)
        if scaler := state_dict.pop('scaler', None):
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
