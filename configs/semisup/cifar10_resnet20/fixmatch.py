"""FixMatch on CIFAR-10 with 250 labels, ResNet-20: 13,000 steps.

Command: python tools/train.py semisup/cifar10_resnet20/fixmatch.py
"""

_base_ = '../../_base_/semisup/cifar10_resnet20.py'

model = dict(type='FixMatch')
