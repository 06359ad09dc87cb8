"""ODC on CIFAR-10, ResNet-18 with CIFAR stem.

The released code has no recipe for small images: clusters are 1/100 of them, and the learning rate falls by a cosine.
With its learning rate, dropout and momentum a short training hardly begins to learn.
Command: python tools/train.py selfsup/cifar10/odc.py
"""

_base_ = '../../_base_/selfsup/cifar10.py'

model = dict(
    _delete_=True,
    type='ODC',
    backbone=dict(type='CIFARResNet', depth=18),
    clusters=500,
    dropout=0.0,
    momentum=0.9,
    data_preprocessor=dict(
        type='ImagePreprocessor',
        augment=[
            dict(type='BatchRandomResizedCrop', size=32, scale=(0.2, 1.0), interpolation='bilinear'),
            dict(type='BatchRandomFlip'),
            dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=1.0, hue=0.5),
            dict(type='BatchRandomGrayscale', p=0.2),
        ],
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.5, weight_decay=1e-5),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts=dict(head=dict(momentum=0.0))),
)
