"""ResNeXt-50 (32x4d, CIFAR stem) on CIFAR-100, as in Decoupled Mixup, Table 1.

Published: Mixup 82.10 % (MCE) and 82.96 % (DM(CE)), median of the last 10 of 800 epochs. The cutting policies' numbers
fit a weight decay of 5e-4 only.
Command: python tools/train.py classification/cifar100/resnext50.py
"""

_base_ = 'resnet18.py'

model = dict(backbone=dict(_delete_=True, type='CIFARResNeXt'))
