"""Gradient checkpointing: blocks of a backbone store only their input and are recomputed in the backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from openmix.errors import InputError, nearest
from openmix.ops.kept_buffers import KeptBuffers

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def checkpoint_blocks(backbone: nn.Module, blocks: bool | Sequence[str], sites: Iterable[str] = ()) -> list[str]:
    """Change some modules of a backbone, in place, to recompute their activations in the backward pass.

    Gradients stay the same: random numbers and autocast are those of the first run, and batch-norm
    statistics are updated in the first run only. Deep copies of the backbone recompute too; the keys of the
    state dict do not change.

    Args:
        backbone: the backbone.
        blocks: names of its modules; True: every repeated block (see `repeated_blocks`) without a site inside.
        sites: modules whose output may be mixed. The second run would not be mixed, so a site may be a
            block but must not lie inside one.

    Returns:
        The names of the blocks.

    Raises:
        InputError: there is no module of that name, it has no forward pass of its own, it has a site inside, or
            the backbone has no repeated blocks.
    """
    name = type(backbone).__name__
    if blocks is True:
        chosen = [block for block in repeated_blocks(backbone) if not _inside(block, sites)]
        if not chosen:
            raise InputError(
                f'grad_checkpointing: {name} has no repeated blocks without a site inside; '
                'name the modules to run twice, or leave it out'
            )
    else:
        chosen = list(blocks or ())
    modules = dict(backbone.named_modules())
    for block in chosen:
        if not block or block not in modules:
            valid = [other for other in modules if other and other.count('.') == block.count('.')]
            raise InputError(f"grad_checkpointing: {name} has no module '{block}'; {nearest(block, valid)}")
        if within := _inside(block, sites):
            raise InputError(
                f"grad_checkpointing: the policy mixes at '{within[0]}' inside '{block}', which runs twice; "
                'choose smaller blocks or another site'
            )
        if type(modules[block]).forward in {container.forward for container in (nn.ModuleList, nn.ModuleDict)}:
            raise InputError(f"grad_checkpointing: '{block}' is only a list of modules; name those in it")
    for block in chosen:
        # A bound method, not a closure, so that a deep copy of the backbone runs its own blocks.
        modules[block].forward = MethodType(_run_checkpointed, modules[block])
    return chosen


def repeated_blocks(backbone: nn.Module) -> list[str]:
    """Find the names of a backbone's repeated blocks, such as residual or transformer blocks.

    A repeated block is in a container of modules, has submodules, and its class occurs more than once.
    Where the elements of a container are stages that contain several blocks, the inner blocks are returned.
    """
    found = {
        f'{prefix}.{name}'.lstrip('.'): child
        for prefix, parent in backbone.named_modules()
        if isinstance(parent, _CONTAINERS)
        for name, child in parent.named_children()
        if not isinstance(child, (*_CONTAINERS, _BatchNorm)) and any(True for _ in child.children())
    }
    classes = Counter(type(child) for child in found.values())
    names = [name for name, child in found.items() if classes[type(child)] > 1]
    in_list = Counter((name.rpartition('.')[0], type(found[name])) for name in names)
    lists = {parent for (parent, _), count in in_list.items() if count > 1}
    stages = {type(found[name]) for name in names if any(parent.startswith(f'{name}.') for parent in lists)}
    blocks = [name for name in names if type(found[name]) not in stages]
    return [name for name in blocks if not any(name.startswith(f'{other}.') for other in blocks)]


def _inside(block: str, sites: Iterable[str]) -> list[str]:
    return sorted(site for site in sites if site.startswith(f'{block}.'))


def _run_checkpointed(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    # DenseNets append to the list that they pass.
    args = tuple(list(arg) if isinstance(arg, list) else arg for arg in args)
    if torch.compiler.is_compiling():
        # A compiled graph writes its buffers only once, also when it recomputes.
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return checkpoint(
        forward, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), KeptBuffers(block)), **kwargs
    )
