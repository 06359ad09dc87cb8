"""SwAV on 10,000 images of CIFAR-10, ResNet-20, 40 epochs: what a CPU trains.

Crops, prototypes, epsilon and rate are those of the recipe for ResNet-18, with two small crops instead of four; the
queue counts from the fifth epoch on.
Command: python tools/train.py selfsup/cifar10_resnet20/swav.py
"""

_base_ = '../../_base_/selfsup/cifar10_resnet20.py'

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
    backbone=dict(type='ThinResNet', depth=20, width=16),
    prototypes=300,
    epsilon=0.03,
    queue=1280,
    queue_epoch=5,
    frozen_steps=78,
    data_preprocessor=dict(type='ImagePreprocessor', channels_last=True, augment=[large, large, small, small]),
)
optim_wrapper = dict(optimizer=dict(type='Lars', lr=0.6, weight_decay=1e-6, always_adapt=True))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0006, by_epoch=True, convert_to_iter_based=True)]
del colours, large, small  # Nothing reads them as keys of the recipe, and its hash would cover them.
