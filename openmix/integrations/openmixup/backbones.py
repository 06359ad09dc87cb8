"""OpenMixup's backbones, and the names of their weights."""

from __future__ import annotations

import re
from typing import Any

from openmix.errors import InputError, nearest
from openmix.integrations.openmixup.keys import Keys

# Type of the backbone -> stem for small images, groups by default. Those with `Mix` in their names can mix features.
_RESNETS = {
    **dict.fromkeys(('ResNet', 'ResNet_Mix'), (False, 1, 64)),
    **dict.fromkeys(('ResNet_CIFAR', 'ResNet_Mix_CIFAR'), (True, 1, 64)),
    'ResNeXt': (False, 32, 4),
    **dict.fromkeys(('ResNeXt_CIFAR', 'ResNeXt_CIFAR_Mix'), (True, 32, 4)),
}
_WIDE = ('WideResNet', 'WideResNet_Mix')
# Depth, groups and width of the bottlenecks of torchvision's models.
_OF_TORCHVISION = {(depth, 1, 64): f'resnet{depth}' for depth in (18, 34, 50, 101, 152)}
_OF_TORCHVISION |= {(50, 32, 4): 'resnext50_32x4d', (101, 32, 8): 'resnext101_32x8d', (101, 64, 4): 'resnext101_64x4d'}
# Options of a ResNet that change its layers, by the one value that has a counterpart.
_PLAIN: dict[str, tuple[Any, ...]] = {
    'in_channels': (3,),
    'stem_channels': (64,),
    'base_channels': (64,),
    'expansion': (None,),
    'num_stages': (4,),
    'strides': ((1, 2, 2, 2), [1, 2, 2, 2]),
    'dilations': ((1, 1, 1, 1), [1, 1, 1, 1]),
    'out_indices': ((3,), [3]),
    'style': ('pytorch',),
    'deep_stem': (False,),
    'avg_down': (False,),
    'frozen_stages': (-1,),
    'conv_cfg': (None,),
    'norm_eval': (False,),
    'with_cp': (False,),
    'drop_path_rate': (0,),
}
_OF_WIDE = {'in_channels': (3,), 'first_stride': (1,), 'out_indices': ((2,), [2]), 'frozen_stages': (-1,)}
# The form of the wide network there, see `openmix.models.backbones.wide_resnet`.
_WIDE_FORM = {'bias': True, 'negative_slope': 0.1, 'norm_eps': 1e-3, 'norm_momentum': 1e-3}
_WIDE_NAMES = (
    (r'^block(\d)\.layer\.(\d+)\.convShortcut\.', r'layer\1.\2.shortcut.'),
    (r'^block(\d)\.layer\.', r'layer\1.'),
    (r'^bn1\.', 'bn.'),
)


def backbone_of(backbone: Keys) -> dict[str, Any]:
    """Take a backbone; return the registry dict of openmix's.

    Raises:
        InputError: it has no counterpart.
    """
    kind = backbone.take('type')
    if kind in _WIDE:
        for key, values in _OF_WIDE.items():
            backbone.expect(key, *values)
        backbone.expect('norm_eval', False)
        backbone.expect('with_cp', False)
        form = {**_WIDE_FORM, 'transition': 'raw_shortcut', 'dropout': float(backbone.take('drop_rate', 0.0))}
        return {'type': 'WideResNet', 'depth': backbone.take('depth', 28), **_width(backbone), **form}
    if kind not in _RESNETS:
        raise InputError(
            f"{backbone.named('type')}: openmix has no counterpart of '{kind}'; {nearest(kind, [*_RESNETS, *_WIDE])}"
        )
    for key, values in _PLAIN.items():
        backbone.expect(key, *values)
    norm = Keys(backbone.take('norm_cfg', {'type': 'BN'}), backbone.named('norm_cfg'))
    norm.expect('type', 'BN')
    norm.take('requires_grad', True)
    small, groups, width = _RESNETS[kind]
    depth = backbone.take('depth')
    grouped = backbone.take('groups', groups), backbone.take('width_per_group', width)
    zero = {'zero_init_residual': True} if backbone.take('zero_init_residual', False) else {}
    if small:
        kind = 'CIFARResNet' if grouped == (1, 64) else 'CIFARResNeXt'
        extra = {} if kind == 'CIFARResNet' else {'groups': grouped[0], 'width_per_group': grouped[1]}
        return {'type': kind, 'depth': depth, **extra, **zero}
    name = _OF_TORCHVISION.get((depth, *grouped))
    if name is None:
        told = f'depth={depth}, groups={grouped[0]}, width_per_group={grouped[1]}'
        raise InputError(f'{backbone.place}: torchvision has no network with {told}')
    return {'type': 'TorchvisionBackbone', 'name': name, **zero}


def _width(backbone: Keys) -> dict[str, Any]:
    return {'widen_factor': backbone.take('widen_factor', 2)}


def weight_name(kind: str, name: str) -> str:
    """Return openmix's name of a weight of a backbone.

    Args:
        kind: type of openmix's backbone.
        name: the weight's name there, within the backbone.
    """
    # The residual networks have torchvision's names.
    for pattern, ours in _WIDE_NAMES if kind == 'WideResNet' else ():
        name = re.sub(pattern, ours, name)
    return name
