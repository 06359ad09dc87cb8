"""ResNet-34 on ImageNet-1k in 300 epochs (PyTorch-style training).

Published: vanilla 75.29 %, Mixup 75.73 % (Automatic Mixup, Table 3, at a global batch of 200),
median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet34_300ep.py
"""

_base_ = 'resnet18_300ep.py'

model = dict(backbone=dict(name='resnet34'))
