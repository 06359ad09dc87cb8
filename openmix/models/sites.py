"""Sites: mix the output of a named module of the backbone, or keep it, or what the module was called with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from openmix.errors import InputError, nearest
from openmix.mixups.attention import Call
from openmix.ops.batches import what

MixFn = Callable[[Tensor], Tensor]


class Sites:
    """Forward hooks on some modules of a backbone; a hook changes the output only in a forward pass it is armed for.

    The hooks stay registered and are armed for every step, because a compiled backbone silently skips a hook
    that was added after compilation.

    Args:
        backbone: the backbone.
        names: names of its modules; '' is the input and needs no hook.
        watched: names of modules whose arguments `watching` keeps.
        kept: names of modules whose output `keeping` keeps.

    Raises:
        InputError: the backbone has no module of that name.
    """

    def __init__(
        self, backbone: nn.Module, names: Iterable[str], watched: Iterable[str] = (), kept: Iterable[str] = ()
    ) -> None:
        self._armed: dict[str, MixFn] = {}
        self._watching: dict[str, list[Call]] = {}
        self._keeping: dict[str, list[Tensor]] = {}
        modules = dict(backbone.named_modules())
        for name in sorted(set(kept)):
            if name not in modules:
                raise InputError(f"{type(backbone).__name__} has no module '{name}'; {nearest(name, list(modules))}")
            modules[name].register_forward_hook(partial(self._keep_output, name))
        for name in sorted(set(watched)):
            if name not in modules:
                raise InputError(f"{type(backbone).__name__} has no module '{name}'; {nearest(name, list(modules))}")
            modules[name].register_forward_pre_hook(partial(self._keep_call, name), with_kwargs=True)
        for name in sorted(set(names) - {''}):
            if name not in modules:
                valid = ["'' (the input)", *(n for n in modules if n and n.count('.') == name.count('.'))]
                raise InputError(f"{type(backbone).__name__} has no site '{name}'; {nearest(name, valid)}")
            # A bound method, not a closure, so that the hooks of a deep copy read the copy's state.
            modules[name].register_forward_hook(partial(self._mix_output, name))

    @torch.compiler.disable
    def _mix_output(self, name: str, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        # Disarm before mixing: the policy may run the backbone again.
        mix_fn = self._armed.pop(name, None)
        if mix_fn is not None and not isinstance(output, Tensor):
            raise InputError(f"site '{name}' puts out {what(output)}, which no policy mixes; choose another site")
        return None if mix_fn is None else mix_fn(output)

    @torch.compiler.disable
    def _keep_call(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in self._watching:
            self._watching[name].append(Call(args, kwargs))

    @torch.compiler.disable
    def _keep_output(self, name: str, module: nn.Module, args: tuple, output: Tensor) -> None:
        if name in self._keeping:
            self._keeping[name].append(output)

    @contextmanager
    def keeping(self, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
        """Keep the outputs of modules in the next forward pass, with gradient; they are in the dict after the block.

        Raises:
            InputError: the forward pass did not call a module exactly once, or it puts out no tensor.
        """
        self._keeping = {name: [] for name in names}
        outputs: dict[str, Tensor] = {}
        try:
            yield outputs
            for name, found in self._keeping.items():
                _check_once(name, found)
                if not isinstance(found[0], Tensor):
                    raise InputError(f"'{name}' puts out {what(found[0])}, not a tensor; name another module")
                outputs[name] = found[0]
        finally:
            # A recomputing backward pass calls it again.
            self._keeping = {}

    @contextmanager
    def watching(self, names: Iterable[str]) -> Iterator[dict[str, Call]]:
        """Keep the arguments of watched modules in the next forward pass; they are in the dict after the block.

        Raises:
            InputError: the forward pass did not call a module exactly once.
        """
        self._watching = {name: [] for name in names}
        calls: dict[str, Call] = {}
        try:
            yield calls
            for name, found in self._watching.items():
                _check_once(name, found)
                calls[name] = found[0]
        finally:
            # A recomputing backward pass calls it again.
            self._watching = {}

    @contextmanager
    def armed(self, name: str, mix_fn: MixFn) -> Iterator[None]:
        """Mix the output of site `name` in the next forward pass.

        Raises:
            InputError: the forward pass did not reach the site.
        """
        self._armed[name] = mix_fn
        try:
            yield
            if name in self._armed:
                raise InputError(f"site '{name}' was not reached in the forward pass; choose a module that runs")
        finally:
            self._armed.clear()


def _check_once(name: str, found: Sequence[Any]) -> None:
    """Raise an `InputError` unless a forward pass has called a module exactly once."""
    if len(found) != 1:
        raise InputError(f"'{name}' ran {len(found)} times in the forward pass; name a module that runs once")
