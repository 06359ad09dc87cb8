"""Random draws on the meta device that torch lacks; like all draws there, they only have a shape."""

from __future__ import annotations

import torch
from torch import Tensor

_DRAWS = ('_sample_dirichlet', '_standard_gamma')
_library = torch.library.Library('aten', 'IMPL')


def _of_shape(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    return torch.empty_like(x)


def complete_meta() -> None:
    """Add gamma and Dirichlet draws on the meta device to torch, for the rest of this process."""
    for name in _DRAWS:
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f'aten::{name}', 'Meta'):
            _library.impl(name, _of_shape, 'Meta')
