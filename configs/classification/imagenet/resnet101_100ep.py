"""ResNet-101 on ImageNet-1k in 100 epochs, trained as Decoupled Mixup, Table 2, trains its smaller networks.

The table has no number for it.
Command: python tools/train.py classification/imagenet/resnet101_100ep.py
"""

_base_ = 'resnet18_100ep.py'

model = dict(backbone=dict(name='resnet101'))
