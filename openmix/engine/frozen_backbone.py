"""Check that a backbone that should be frozen was."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor

from openmix.algorithm import algorithm_of
from openmix.errors import InputError
from openmix.registry import HOOKS


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Check after a training that no parameter and no buffer of the backbone changed.

    Raises:
        InputError: one did.
    """

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}

    def before_train(self, runner: Any) -> None:
        self.before = _tensors(runner)

    def after_train(self, runner: Any) -> None:
        now = _tensors(runner)
        if changed := [name for name, value in self.before.items() if not torch.equal(value, now[name])]:
            raise InputError(
                f'FrozenBackboneHook: {len(changed)} of {len(now)} tensors of the backbone changed, the first is '
                f"'{changed[0]}'; freeze the backbone, as LinearProbe does, or leave the hook out"
            )


def _tensors(runner: Any) -> dict[str, Tensor]:
    """Copy the parameters and buffers of the backbone to the CPU."""
    backbone = algorithm_of(runner.model).backbone
    return {name: value.detach().cpu().clone() for name, value in backbone.state_dict().items()}
