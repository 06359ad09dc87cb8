"""OpenMixup's `mix_mode`, `alpha` and `mix_args` as a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openmix.errors import InputError, brief, nearest
from openmix.integrations.openmixup.keys import Keys

# OpenMixup draws one ratio, and one box or mask, for all pairs of a batch.
_OF_BATCH = {'share': 'batch'}


def _none(args: Keys, alpha: float) -> dict[str, Any]:
    return clean()


def _mixup(args: Keys, alpha: float) -> dict[str, Any]:
    return {'type': 'Mixup', 'alpha': alpha, **_OF_BATCH}


def _cutmix(args: Keys, alpha: float) -> dict[str, Any]:
    return {'type': 'CutMix', 'alpha': alpha, **_OF_BATCH}


def _saliencymix(args: Keys, alpha: float) -> dict[str, Any]:
    return {'type': 'SaliencyMix', 'alpha': alpha, 'detector_input': 'float', **_OF_BATCH}


def _manifoldmix(args: Keys, alpha: float) -> dict[str, Any]:
    first, end = args.take('layer', (0, 3))
    sites = ['' if layer == 0 else f'layer{layer}' for layer in range(first, end)]
    return {'type': 'Mixup', 'alpha': alpha, 'sites': sites, **_OF_BATCH}


def _fmix(args: Keys, alpha: float) -> dict[str, Any]:
    args.take('size', None)  # openmix's mask has the size of the images
    args.expect('max_soft', 0)
    args.expect('reformulate', False)
    decay = float(args.take('decay_power', 3))
    return {'type': 'FMix', 'alpha': alpha, 'decay': decay, 'spectrum': 'two_harmonics', **_OF_BATCH}


def _resizemix(args: Keys, alpha: float) -> dict[str, Any]:
    scope, interpolation = tuple(args.take('scope', (0.1, 0.8))), args.take('interpolate_mode', 'nearest')
    # Without `use_alpha` the size of the partner is uniform in the scope, as Beta(1, 1) is.
    alpha = alpha if args.take('use_alpha', False) else 1.0
    found = {'type': 'ResizeMix', 'alpha': alpha, 'scope': scope, 'redraw': 'uniform', **_OF_BATCH}
    return found if interpolation == 'nearest' else {**found, 'interpolation': interpolation}


def _puzzlemix(args: Keys, alpha: float) -> dict[str, Any]:
    args.take('t_batch_size', None)  # how many images are transported at once
    blocks = args.take('block_num', 4)
    first, end = blocks if isinstance(blocks, (tuple, list)) else (1, blocks)
    size = args.take('t_size', -1)
    same = {'transport': True, 'beta': 1.2, 'gamma': 0.5, 'eta': 0.2, 'neigh_size': 4, 'n_labels': 3, 't_eps': 0.8}
    found = {'type': 'PuzzleMix', 'alpha': alpha, 'block_nums': tuple(2**n for n in range(first, end)), **_OF_BATCH}
    return {**found, 't_size': None if size == -1 else size, **{key: args.take(key, same[key]) for key in same}}


_POLICIES: dict[str, Callable[[Keys, float], dict[str, Any]]] = {
    'vanilla': _none,
    'mixup': _mixup,
    'cutmix': _cutmix,
    'saliencymix': _saliencymix,
    'manifoldmix': _manifoldmix,
    'fmix': _fmix,
    'resizemix': _resizemix,
    'puzzlemix': _puzzlemix,
}


def clean() -> dict[str, Any]:
    """Return the policy of a model that mixes nothing."""
    return {'type': 'NoMix'}


def policy_of(model: Keys) -> dict[str, Any]:
    """Take `mix_mode`, `alpha`, `mix_args` and `mix_prob` of a model; return the registry dict of a policy.

    `mix_args` of other modes have no effect, and are taken too.

    Raises:
        InputError: a mode is not converted, or one of its arguments has no counterpart.
    """
    modes, alphas = model.take('mix_mode', 'mixup'), model.take('alpha', 1.0)
    modes, alphas = ([one] if not isinstance(one, list) else one for one in (modes, alphas))
    if len(modes) != len(alphas):
        raise InputError(f'{model.named("alpha")}: {len(alphas)} values for {len(modes)} of mix_mode')
    model.expect('mix_repeat', False, 1)
    probs = model.take('mix_prob', None)
    given = Keys(model.take('mix_args', {}), model.named('mix_args'))
    found = []
    for mode, alpha in zip(modes, alphas):
        if mode not in _POLICIES:
            raise InputError(f"{model.named('mix_mode')}: '{mode}' is not converted; {nearest(mode, _POLICIES)}")
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise InputError(f'{model.named("alpha")} must be a number, got {brief(alpha)}')
        args = Keys(dict(given.take(mode, {})), given.named(mode))
        found.append(_POLICIES[mode](args, float(alpha)))
        if unknown := list(args.left()):
            raise InputError(f'{", ".join(unknown)}: not understood')
    if len(found) == 1:
        return found[0]
    return {'type': 'OneOf', 'policies': found, **({} if probs is None else {'probs': list(probs)})}
