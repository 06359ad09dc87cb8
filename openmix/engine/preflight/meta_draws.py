"""Draws that torch has for every device but meta: there they are tensors of the right shape, as all others."""

from __future__ import annotations

import torch
from torch import Tensor

_DRAWS = ('_sample_dirichlet', '_standard_gamma')
_library = torch.library.Library('aten', 'IMPL')


def _of_shape(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    return torch.empty_like(x)


def complete_meta() -> None:
    """Let torch draw from gamma and Dirichlet distributions on the meta device, in this process, from now on."""
    for name in _DRAWS:
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f'aten::{name}', 'Meta'):
            _library.impl(name, _of_shape, 'Meta')
