"""ResNeXt-50 (32x4d) on FGVC-Aircraft from torchvision's ImageNet weights: Decoupled Mixup, Table 5,
and Automatic Mixup, Table 2.

Published: vanilla 85.10 %, Mixup 85.18 % (Automatic Mixup), median of the last 10 of 200 epochs.
Without a network: --cfg-options model.backbone.weights=None model.backbone.checkpoint=FILE, the file saved elsewhere.
Command: python tools/train.py classification/fgvc_aircraft/resnext50.py
"""

_base_ = 'resnet18.py'

model = dict(backbone=dict(name='resnext50_32x4d'))
