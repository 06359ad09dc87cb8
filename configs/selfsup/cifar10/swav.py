"""SwAV on CIFAR-10, ResNet-18 with CIFAR stem.

The released code has no recipe for these images: the sizes of the crops, fewer prototypes and a smaller epsilon
are a choice.
Command: python tools/train.py selfsup/cifar10/swav.py
"""

_base_ = '../../_base_/selfsup/cifar10.py'

colours = [
    dict(type='BatchRandomFlip'),
    dict(type='BatchColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
]
large = [dict(type='BatchRandomResizedCrop', size=32, scale=(0.3, 1.0), interpolation='bilinear'), *colours]
small = [dict(type='BatchRandomResizedCrop', size=16, scale=(0.08, 0.3), interpolation='bilinear'), *colours]
model = dict(
    _delete_=True,
    type='SwAV',
    backbone=dict(type='CIFARResNet', depth=18),
    prototypes=300,
    epsilon=0.03,
    queue=3584,
    frozen_steps=97,
    data_preprocessor=dict(type='ImagePreprocessor', augment=[large, large, small, small, small, small]),
)
optim_wrapper = dict(optimizer=dict(type='Lars', lr=1.2, weight_decay=1e-6, always_adapt=True))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0012, by_epoch=True, convert_to_iter_based=True)]
del colours, large, small  # Nothing reads them as keys of the recipe, and its hash would cover them.
