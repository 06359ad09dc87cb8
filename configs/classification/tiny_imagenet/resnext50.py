"""ResNeXt-50 (32x4d, CIFAR stem) on Tiny-ImageNet, as in Decoupled Mixup, Table 1.

Published: Mixup 66.36 % (MCE) and 67.70 % (DM(CE)), median of the last 10 of 400 epochs.
Command: python tools/train.py classification/tiny_imagenet/resnext50.py
"""

_base_ = 'resnet18.py'

model = dict(backbone=dict(_delete_=True, type='CIFARResNeXt'))
