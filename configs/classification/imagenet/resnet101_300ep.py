"""ResNet-101 on ImageNet-1k in 300 epochs (PyTorch-style training).

Published: vanilla 78.91 %, Mixup 80.60 % (Automatic Mixup, Table 3, at a global batch of 200),
median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet101_300ep.py
"""

_base_ = 'resnet18_300ep.py'

model = dict(backbone=dict(name='resnet101'))
