"""ResNet-50 on ImageNet-1k in 100 epochs, as in Decoupled Mixup, Table 2 (PyTorch-style training).

Published: vanilla 76.83 %, Mixup 77.12 % (MCE) and 77.41 % (DM(CE)), median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet50_100ep.py
"""

_base_ = 'resnet18_100ep.py'

model = dict(backbone=dict(name='resnet50'))
