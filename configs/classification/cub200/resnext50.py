"""ResNeXt-50 (32x4d) on CUB-200-2011 from torchvision's ImageNet weights, as in Decoupled Mixup, Table 5.

Published: Mixup 84.58 % (MCE) and 85.04 % (DM(CE)), median of the last 10 of 200 epochs.
Without a network: --cfg-options model.backbone.weights=None model.backbone.checkpoint=FILE, the file saved elsewhere.
Command: python tools/train.py classification/cub200/resnext50.py
"""

_base_ = 'resnet18.py'

model = dict(backbone=dict(name='resnext50_32x4d'))
