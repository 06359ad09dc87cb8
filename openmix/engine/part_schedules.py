"""A schedule of some parts of the model alone, see `PartConstructor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mmengine.optim import BaseOptimWrapper, OptimWrapper

from openmix.errors import InputError, brief, nearest


class PartsOfOptimizer(BaseOptimWrapper):
    """The parameter groups of some parts of an optimiser, as far as a schedule needs an optimiser.

    Args:
        whole: the optimiser's wrapper, whose groups have the names of their parts; '' is the rest.
        parts: names of parts.

    Raises:
        InputError: a part has no group of its own.
    """

    base_param_settings = None

    def __init__(self, whole: OptimWrapper, parts: Sequence[str]) -> None:
        self.whole, self.parts = whole, frozenset(parts)
        known = {group['part'] for group in whole.optimizer.param_groups if 'part' in group}
        if not known:
            raise InputError(
                "a schedule of parts needs optim_wrapper=dict(constructor='PartConstructor', paramwise_cfg=dict("
                'parts=...)), which gives parts groups of their own'
            )
        for part in parts:
            if part not in known:
                raise InputError(f"parts: no group of the optimiser is of '{part}'; {nearest(str(part), known - {''})}")

    @property
    def param_groups(self) -> list[dict]:
        """The groups. They are read anew each time, because loading a state replaces those of an optimiser."""
        return [group for group in self.whole.optimizer.param_groups if group['part'] in self.parts]

    def update_params(self, *args: Any, **kwargs: Any) -> None:
        self.whole.update_params(*args, **kwargs)

    def backward(self, loss: Any, **kwargs: Any) -> None:
        self.whole.backward(loss, **kwargs)

    def zero_grad(self, **kwargs: Any) -> None:
        self.whole.zero_grad(**kwargs)

    def step(self, **kwargs: Any) -> None:
        self.whole.step(**kwargs)


def without_parts(schedule: Mapping[str, Any], whole: OptimWrapper) -> tuple[dict[str, Any], OptimWrapper]:
    """Take `parts` out of a schedule's dict; return the rest of it, and the groups that it is of.

    Raises:
        InputError: `parts` is no list of names of parts of the optimiser.
    """
    given = dict(schedule)
    parts = given.pop('parts', None)
    if parts is None:
        return given, whole
    if isinstance(parts, str) or not isinstance(parts, Sequence) or not parts:
        raise InputError(f"parts must be a list of parts of the model, such as ['policy.mixer'], got {brief(parts)}")
    # All that a schedule does with it is to read and write its groups.
    return given, cast(OptimWrapper, PartsOfOptimizer(whole, parts))
