"""ResNet-18 on ImageNet-1k in 300 epochs (PyTorch-style training).

Published: vanilla 71.83 %, Mixup 71.72 % (Automatic Mixup, Table 3, at a global batch of 200),
median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet18_300ep.py
"""

_base_ = 'resnet18_100ep.py'

train_cfg = dict(max_epochs=300)
