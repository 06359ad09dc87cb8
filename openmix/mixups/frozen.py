"""`Frozen`: a module that is used but neither trained nor saved, such as a teacher."""

from __future__ import annotations

from typing import Any

from torch import nn

from openmix.ops.ema import frozen_copy


class Frozen(nn.Module):
    """Hold a frozen module in evaluation mode; it moves to devices with its owner and is not saved in checkpoints.

    Its weights come from a file of their own, which a resumed run reads again.

    Args:
        module: the module; it is copied unless `own`.
        own: use the module itself, because nothing else refers to it.
    """

    def __init__(self, module: nn.Module, own: bool = False) -> None:
        super().__init__()
        self.module = module.requires_grad_(False) if own else frozen_copy(module)
        super().train(False)
        self._register_load_state_dict_pre_hook(self._answer_with_own)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = '', keep_vars: bool = False) -> Any:
        """Return an empty state, or `destination` unchanged."""
        return {} if destination is None else destination

    def _answer_with_own(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Keep the module's own weights when a checkpoint is loaded, which has no entries for them."""
        state_dict.update(self.module.state_dict(prefix=f'{prefix}module.'))
