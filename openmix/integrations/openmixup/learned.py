"""OpenMixup's `AutoMixup` as a learned policy."""

from __future__ import annotations

from typing import Any

from openmix.errors import InputError
from openmix.integrations.openmixup.keys import Keys
from openmix.integrations.openmixup.losses import head_of

# Options of the Mix Block that have a counterpart in one form only, that of AutoMix, by their defaults there.
_OF_BLOCK: dict[str, tuple[Any, ...]] = {
    'reduction': (2,),
    'use_scale': (True,),
    'unsampling_mode': ('nearest', ['nearest'], ('nearest',)),
    'lam_concat_v': (False,),
    'lam_mul': (False, 0),
    'lam_mul_k': (-1,),
    'lam_residual': (False,),
    'value_neck_cfg': (None,),
    'x_qk_concat': (False,),
    'x_v_concat': (False,),
    'att_norm_cfg': (None,),
    'att_act_cfg': (None,),
    'mask_loss_mode': ('L1',),
    'frozen': (False,),
}
_WITHOUT = {'mask_up_override': None, 'switch_off': 0, 'head_one_mix': False, 'mix_shuffle_no_repeat': False}
_LOSSES = ('head_mix_q', 'head_one_q', 'head_mix_k', 'head_one_k')


def learned_policy_of(model: Keys, momentum: dict[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the keys of an `AutoMixup`; return the registry dicts of the policy and of the head.

    Args:
        model: the model; its backbone is left.
        momentum: `momentum_end` and `momentum_hold` of the hook that moves the momentum; empty: it is constant.

    Raises:
        InputError: an option has no counterpart, as those of SAMix's block.
    """
    for key, value in _WITHOUT.items():
        model.expect(key, value)
    for key in ('pre_one_loss', 'pre_mix_loss'):
        model.expect(key, 0)
    for key in ('debug', 'head_ensemble', 'save_by_sample'):
        model.take(key, None)  # of pictures, and of what is printed
    weights = model.inner('head_weights', {})
    for key in _LOSSES:
        weights.expect(key, 1)
    for key in ('decent_weight', 'accent_weight'):
        weights.expect(key, [], None)
    block = model.inner('mix_block')
    block.expect('type', 'PixelMixBlock')
    block.take('in_channels', None)  # that of the features
    for key, values in _OF_BLOCK.items():
        block.expect(key, *values)
    clean, mixed = head_of(model.inner('head_one')), head_of(model.inner('head_mix'))
    for key in ('head_one_k', 'head_mix_k'):
        model.expect(key, None)
    start = model.take('momentum', 0.999)
    if clean != mixed:
        raise InputError('model.head_one: openmix has one loss for clean and mixed images, and head_mix has another')
    policy = {
        'type': 'AutoMix',
        'alpha': float(model.take('alpha', 1.0)),
        'share': 'batch',
        'site': f'layer{model.take("mask_layer", 2) + 1}',
        'momentum': start,
        **({'momentum_end': start} | momentum),
        'mask_weight': model.take('mask_loss', 0.0),
        'mask_margin': block.take('mask_loss_margin', 0),
        'adjust_prob': model.take('mask_adjust', 0.0),
        'lam_margin': max(model.take('lam_margin', -1), 0),
        'heads': 'split',
        'skips': 'mixer_loss',
        'mixer': {'lam_encoding': 'concat' if block.take('lam_concat', False) else 'none'},
    }
    return policy, mixed


def momentum_of(hook: Keys) -> dict[str, float]:
    """Take a `CosineScheduleHook`; return what it is of a policy.

    Raises:
        InputError: it moves the momentum otherwise.
    """
    hook.take('type')
    hook.expect('switch_ema', False)
    for key in ('update_interval', 'switch_interval'):
        hook.expect(key, 1)
    for key in ('restart_step', 'interval'):
        hook.take(key, None)
    first, last = hook.take('adjust_scope', [0, 1])
    if last < 1:
        raise InputError(f'{hook.named("adjust_scope")}: only a range that ends with the training has a counterpart')
    if first > 0:
        hook.expect('warming_up', 'constant')
    hook.take('warming_up', None)
    return {'momentum_end': hook.take('end_momentum', 1.0), 'momentum_hold': float(first)}
