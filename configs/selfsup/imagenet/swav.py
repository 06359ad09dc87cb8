"""SwAV on ImageNet-1k, ResNet-50, as released for batches of 256 images and 200 epochs.

Command: python tools/train.py selfsup/imagenet/swav.py
"""

_base_ = '../../_base_/selfsup/imagenet.py'

large = [dict(type='torchvision/RandomResizedCrop', size=224, scale=(0.14, 1.0), interpolation='bilinear')]
small = [dict(type='torchvision/RandomResizedCrop', size=96, scale=(0.05, 0.14), interpolation='bilinear')]
model = dict(
    _delete_=True,
    type='SwAV',
    backbone=dict(type='TorchvisionBackbone', name='resnet50'),
    queue=3840,
    frozen_steps=5005,
    data_preprocessor=dict(
        type='ImagePreprocessor',
        augment=[
            dict(type='BatchRandomFlip'),
            dict(type='BatchColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
            dict(type='BatchRandomGrayscale', p=0.2),
            dict(type='BatchGaussianBlur', sigma=(0.1, 2.0), p=0.5),
        ],
    ),
)
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='MultiView', views=[large, large, small, small, small, small, small, small])])
)
optim_wrapper = dict(optimizer=dict(type='Lars', lr=0.6, weight_decay=1e-6, always_adapt=True))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0006, by_epoch=True, convert_to_iter_based=True)]
sync_bn = 'naive'
del large, small
