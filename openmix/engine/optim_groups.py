"""One optimiser with separate learning rates, weight decay, clipping and schedules for parts of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import CosineAnnealingLR
from torch import nn
from torch.optim import Optimizer

from openmix.algorithm import Algorithm
from openmix.errors import InputError, brief, check_number, nearest
from openmix.registry import CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS

# Options of a part in addition to the optimiser's own.
_OF_PART = ('lr_end', 'clip_grad')
_REST = ''


@runtime_checkable
class _Sparing(Protocol):
    """A backbone, such as one of timm's, that names parameters to be trained without weight decay."""

    def no_weight_decay(self) -> set[str]: ...


@CONSTRUCTORS.register_module()
class PartConstructor:
    """Build an optimiser with one or two parameter groups for each part of the model and for the rest.

    A part is a prefix of parameter names, such as 'policy.mixer'; a parameter belongs to the longest prefix that
    matches. The part's options replace the optimiser's. Frozen parameters are left out. The rest comes first.

    Args:
        optim_wrapper_cfg: registry dict of the wrapper, with `optimizer`. Its `clip_grad` applies to the
            rest and to every part without its own `clip_grad`, each with its own norm.
        paramwise_cfg: `parts`: prefix -> options of the optimiser's groups (`lr`, `weight_decay`,
            `momentum`, ...), `lr_end` (see `PartCosineAnnealingLR`) and `clip_grad` (None: no clipping).
            `decay_vectors`: False excludes from weight decay all parameters with fewer than two
            dimensions, such as biases and norms, and those that the backbone's `no_weight_decay()` names.

    Raises:
        InputError: an unknown option, or a part without a trainable parameter.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop('optimizer'))
        self.clip_grad = self.wrapper.pop('clip_grad', None)
        options = dict(paramwise_cfg or {})
        parts = options.pop('parts', {})
        if not isinstance(parts, Mapping) or not all(isinstance(part, Mapping) for part in parts.values()):
            raise InputError(f'paramwise_cfg: parts must be a dict of dicts, got {brief(parts)}')
        self.parts: dict[str, dict] = {prefix: dict(part) for prefix, part in parts.items()}
        self.decay_vectors = options.pop('decay_vectors', True)
        if not isinstance(self.decay_vectors, bool):
            raise InputError(f'paramwise_cfg: decay_vectors must be True or False, got {brief(self.decay_vectors)}')
        for key in options:
            raise InputError(f"paramwise_cfg has no '{key}'; {nearest(str(key), ['parts', 'decay_vectors'])}")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        groups = self.groups(cast(nn.Module, model.module) if is_model_wrapper(model) else model)
        optimizer = OPTIMIZERS.build({**self.optimizer, 'params': groups})
        self._check_options(optimizer)
        if any(group['clip_grad'] for group in optimizer.param_groups):
            optimizer.register_step_pre_hook(clip_parts)
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.wrapper, 'optimizer': optimizer})

    def groups(self, model: nn.Module) -> list[dict]:
        """Make the parameter groups, each with the name of its part ('' is the rest).

        Raises:
            InputError: a part has no trainable parameter.
        """
        spared = _spared(model)
        found: dict[tuple[str, bool], list[nn.Parameter]] = {}
        names = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                names.append(name)
                part = max((p for p in self.parts if f'{name}.'.startswith(f'{p}.')), key=len, default=_REST)
                decays = self.decay_vectors or (parameter.dim() >= 2 and name not in spared)
                found.setdefault((part, decays), []).append(parameter)
        for part in self.parts:
            if part not in {key for key, _ in found}:
                known = {name[:i] for name in names for i, letter in enumerate(name) if letter == '.'}
                level = {prefix for prefix in known if prefix.count('.') == part.count('.')}
                raise InputError(
                    f"paramwise_cfg: no trainable parameter is in the part '{part}'; {nearest(part, level)}"
                )
        return [self._group(part, decays, found[part, decays]) for part, decays in sorted(found, key=self._order)]

    def _order(self, key: tuple[str, bool]) -> tuple[int, bool]:
        part, decays = key
        return (-1 if part == _REST else list(self.parts).index(part)), not decays

    def _group(self, part: str, decays: bool, params: list[nn.Parameter]) -> dict:
        options = dict(self.parts.get(part, {}))
        lr = options.get('lr', self.optimizer.get('lr'))
        clip_grad = options.pop('clip_grad', self.clip_grad)
        # Built-in types only, because groups are saved in checkpoints.
        group: dict[str, Any] = {'params': params, 'part': part, 'clip_grad': dict(clip_grad) if clip_grad else None}
        if 'lr_end' in options:
            end = options.pop('lr_end')
            check_number(f"paramwise_cfg: lr_end of '{part}'", end, 0.0)
            check_number(f"paramwise_cfg: lr of '{part}', which has an lr_end,", lr, 0.0, above=True)
            # Stored as a ratio, so that scaling the learning rate scales its end too.
            group['end_share'] = end / lr
        return group | options | ({} if decays else {'weight_decay': 0.0})

    def _check_options(self, optimizer: Optimizer) -> None:
        for part, options in self.parts.items():
            known = {*optimizer.defaults, *_OF_PART}
            for key in options:
                if key not in known:
                    name = type(optimizer).__name__
                    raise InputError(f"paramwise_cfg: {name} has no '{key}' for '{part}'; {nearest(str(key), known)}")


def _spared(model: nn.Module) -> set[str]:
    """Return the names of parameters that the backbone excludes from weight decay."""
    backbone = model.backbone if isinstance(model, Algorithm) else None
    return {f'backbone.{name}' for name in backbone.no_weight_decay()} if isinstance(backbone, _Sparing) else set()


def clip_parts(optimizer: Optimizer, args: Any = None, kwargs: Any = None) -> None:
    """Clip the gradients of every part by its own norm (or by value); a pre-step hook, which runs after unscaling."""
    parts: dict[str, tuple[dict, list[nn.Parameter]]] = {}
    for group in optimizer.param_groups:
        if group['clip_grad']:
            parts.setdefault(group['part'], (group['clip_grad'], []))[1].extend(group['params'])
    for clip_grad, params in parts.values():
        options = dict(clip_grad)
        by_value = options.pop('type', 'norm') == 'value'
        (nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_)(params, **options)


@PARAM_SCHEDULERS.register_module()
class PartCosineAnnealingLR(CosineAnnealingLR):
    """A `CosineAnnealingLR` that ends at the part's `lr_end` if it has one, else at `eta_min`."""

    def _get_value(self) -> list[float]:
        if self.last_step == 0:
            return [group[self.param_name] for group in self.optimizer.param_groups]
        if self.last_step > self.T_max:
            raise InputError(
                f'PartCosineAnnealingLR ran past its {self.T_max} steps; set end to the length of training'
            )
        before, now = (1 + math.cos(math.pi * step / self.T_max) for step in (self.last_step - 1, self.last_step))
        pairs = zip(self.base_values, self.optimizer.param_groups)
        ends = [(self._end(base, group), group[self.param_name]) for base, group in pairs]
        return [now / before * (value - end) + end for end, value in ends]

    def _end(self, base: float, group: Mapping[str, Any]) -> float:
        if 'end_share' in group:
            return base * group['end_share']
        return self.eta_min if self.eta_min_ratio is None else base * self.eta_min_ratio
