"""SwAV on the unlabelled images of STL-10, ResNet-18.

The released code has no recipe for these images: the sizes of the crops, and fewer prototypes, are a choice.
Command: python tools/train.py selfsup/stl10/swav.py
"""

_base_ = '../../_base_/selfsup/stl10.py'

colours = [
    dict(type='BatchRandomFlip'),
    dict(type='BatchColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
    dict(type='BatchGaussianBlur', sigma=(0.1, 2.0), p=0.5),
]
large = [dict(type='BatchRandomResizedCrop', size=96, scale=(0.14, 1.0), interpolation='bilinear'), *colours]
small = [dict(type='BatchRandomResizedCrop', size=48, scale=(0.05, 0.14), interpolation='bilinear'), *colours]
model = dict(
    _delete_=True,
    type='SwAV',
    backbone=dict(type='TorchvisionBackbone', name='resnet18'),
    prototypes=500,
    queue=3840,
    frozen_steps=390,
    data_preprocessor=dict(type='ImagePreprocessor', augment=[large, large, small, small, small, small, small, small]),
)
optim_wrapper = dict(optimizer=dict(type='Lars', lr=0.6, weight_decay=1e-6, always_adapt=True))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0006, by_epoch=True, convert_to_iter_based=True)]
del colours, large, small  # Nothing reads them as keys of the recipe, and its hash would cover them.
