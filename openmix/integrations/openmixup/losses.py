"""OpenMixup's heads and their losses as a loss."""

from __future__ import annotations

from typing import Any

from openmix.errors import InputError
from openmix.integrations.openmixup.keys import Keys

# What the released code of the decoupled loss does otherwise than its paper, see `openmix.losses.decoupled`.
_AS_RELEASED = {'least_share': 0.001, 'skip_half': True}


def head_of(head: Keys) -> dict[str, Any]:
    """Take a head; return the registry dict of a head with a loss.

    Raises:
        InputError: it has another layer, or a loss that has no counterpart.
    """
    kind = head.take('type')
    if kind not in ('ClsHead', 'ClsMixupHead'):
        raise InputError(f"{head.named('type')}: openmix has no counterpart of '{kind}'")
    head.expect('with_avg_pool', True)
    head.expect('hidden_dim', None)
    for key in ('finetune', 'aug_test', 'frozen'):
        head.expect(key, False)
    for key in ('neg_weight', 'two_hot_scale'):
        head.expect(key, 1)
    head.take('in_channels', None)  # that of the backbone
    classes = head.take('num_classes', 1000)
    return {'type': 'LinearHead', 'num_classes': classes, 'loss': _loss_of(head, kind == 'ClsMixupHead')}


def _loss_of(head: Keys, mixes: bool) -> dict[str, Any]:
    soft_labels, two_hot = head.take('multi_label', False), head.take('two_hot', False)
    scale = head.take('lam_scale_mode', 'none'), head.take('lam_thr', 1), head.take('lam_idx', 1)
    eta = head.take('eta_weight', {'eta': 0, 'mode': 'both', 'thr': 0.5})
    loss = head.inner('loss', {'type': 'CrossEntropyLoss'})
    kind = loss.take('type')
    loss.expect('loss_weight', 1)
    loss.expect('reduction', 'mean')
    if kind == 'LabelSmoothLoss':
        return _smoothed(loss, soft_labels)
    if kind != 'CrossEntropyLoss':
        raise InputError(f"{loss.named('type')}: openmix has no counterpart of '{kind}'")
    loss.expect('class_weight', None)
    soft, sigmoid, decouple = (loss.take(f'use_{name}', False) for name in ('soft', 'sigmoid', 'mix_decouple'))
    if sigmoid != bool(soft_labels and not soft):
        raise InputError(f'{loss.place}: use_sigmoid needs multi_label=True of the head and use_soft=False')
    if sigmoid:
        return _binary(head, two_hot, scale)
    if two_hot:
        raise InputError(f'{head.named("two_hot")}: only with use_sigmoid=True has it a counterpart')
    if not decouple:
        return {'type': 'mix_ce'}
    if not mixes or not soft_labels or not soft:
        raise InputError(f'{loss.named("use_mix_decouple")} needs a ClsMixupHead with multi_label and use_soft')
    return _decoupled(head, scale, eta)


def _smoothed(loss: Keys, soft_labels: bool) -> dict[str, Any]:
    amount, mode = loss.take('label_smooth_val'), loss.take('mode', None)
    loss.take('num_classes', None)
    if mode != 'original' or soft_labels:
        raise InputError(f"{loss.named('mode')}: only 'original', of a head without multi_label, has a counterpart")
    return {'type': 'mix_ce', 'smoothing': amount}


def _binary(head: Keys, two_hot: bool, scale: tuple[str, float, float]) -> dict[str, Any]:
    mode, threshold, exponent = scale
    if not two_hot:
        return {'type': 'mix_bce', 'labels': 'one'}
    if mode == 'none':
        return {'type': 'mix_bce', 'labels': 'two'}
    if mode != 'pow':
        raise InputError(f"{head.named('lam_scale_mode')}: only 'pow' and 'none' have a counterpart")
    return {'type': 'decoupled_bce', 't': float(abs(exponent)), 'xi': float(threshold)}


def _decoupled(head: Keys, scale: tuple[str, float, float], eta: Any) -> dict[str, Any]:
    weights = Keys(eta, head.named('eta_weight'))
    amount, mode = float(weights.take('eta')), weights.take('mode')
    weights.take('thr')
    if mode != 'both':
        raise InputError(f"{weights.named('mode')}: only 'both' has a counterpart; '{mode}' weighs one class of a pair")
    if scale[0] not in ('none', 'pow') or (scale[0] == 'pow' and tuple(map(float, scale[1:])) != (1.0, 1.0)):
        told = f'lam_scale_mode={scale[0]!r}, lam_thr={scale[1]}, lam_idx={scale[2]}'
        raise InputError(f"{head.place}: {told} has no counterpart; 'none', and 'pow' with 1 and 1, have")
    if amount == 0:
        return {'type': 'mix_ce'}
    return {'type': 'decoupled_ce', 'eta': amount, 'scale': 'share' if scale[0] == 'pow' else 'none', **_AS_RELEASED}
