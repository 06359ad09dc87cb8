"""ResNeXt-101 (32x4d) on ImageNet-1k in 100 epochs, trained as Decoupled Mixup, Table 2, trains its ResNets.

The table has no number for it.
Command: python tools/train.py classification/imagenet/resnext101_100ep.py
"""

_base_ = 'resnet18_100ep.py'

model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnext101_32x4d', zero_init_last=False),
)
published = {'model.backbone.zero_init_last': True}
