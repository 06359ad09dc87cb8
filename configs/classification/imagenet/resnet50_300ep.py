"""ResNet-50 on ImageNet-1k in 300 epochs (PyTorch-style training).

Published: vanilla 77.35 %, Mixup 78.44 % (Automatic Mixup, Table 3, at a global batch of 200),
median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet50_300ep.py
"""

_base_ = 'resnet18_300ep.py'

model = dict(backbone=dict(name='resnet50'))
