"""ResNet-34 on ImageNet-1k in 100 epochs, as in Decoupled Mixup, Table 2 (PyTorch-style training).

Published: vanilla 73.85 %, Mixup 73.97 % (MCE) and 74.26 % (DM(CE)), median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet34_100ep.py
"""

_base_ = 'resnet18_100ep.py'

model = dict(backbone=dict(name='resnet34'))
