"""`Frozen`: a trained module that is asked, and is no part of what is trained or saved."""

from __future__ import annotations

from typing import Any

from torch import nn

from openmix.ops.ema import frozen_copy


class Frozen(nn.Module):
    """A module in evaluation mode that moves to devices with its owner, and is left out of checkpoints.

    Its weights have a file of their own, which is read again by a resumed run.

    Args:
        module: what is asked; it is copied unless `own`.
        own: nobody else holds the module.
    """

    def __init__(self, module: nn.Module, own: bool = False) -> None:
        super().__init__()
        self.module = module.requires_grad_(False) if own else frozen_copy(module)
        super().train(False)
        self._register_load_state_dict_pre_hook(self._answer_with_own)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> Frozen:
        """Evaluation mode whatever is asked."""
        return super().train(False)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = '', keep_vars: bool = False) -> Any:
        """Nothing, into `destination` where there is one."""
        return {} if destination is None else destination

    def _answer_with_own(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Let the module's own weights stand where a checkpoint, which has none of them, is loaded."""
        state_dict.update(self.module.state_dict(prefix=f'{prefix}module.'))
