"""SwAV on digits, ResNet-8: to try a run on a CPU.

The released code has no recipe for these images: crops, prototypes, epsilon and learning rate are a choice. With the
released ones the loss stays at the logarithm of the number of prototypes.
Command: python tools/train.py selfsup/digits/swav.py
"""

_base_ = '../../_base_/selfsup/digits.py'

colours = [
    dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
]
large = [dict(type='BatchRandomResizedCrop', size=16, scale=(0.5, 1.0), interpolation='bilinear'), *colours]
small = [dict(type='BatchRandomResizedCrop', size=8, scale=(0.2, 0.5), interpolation='bilinear'), *colours]
model = dict(
    _delete_=True,
    type='SwAV',
    backbone=dict(type='ThinResNet', depth=8, width=8),
    prototypes=30,
    epsilon=0.03,
    queue=512,
    frozen_steps=22,
    queue_epoch=4,
    width=32,
    hidden=64,
    data_preprocessor=dict(type='ImagePreprocessor', augment=[large, large, small, small]),
)
optim_wrapper = dict(optimizer=dict(type='Lars', lr=2.4, weight_decay=1e-6, always_adapt=True))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0024, by_epoch=True, convert_to_iter_based=True)]
del colours, large, small  # Nothing reads them as keys of the recipe, and its hash would cover them.
