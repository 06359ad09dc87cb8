"""MoCHi on CIFAR-10, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/cifar10/mochi.py
"""

_base_ = 'moco_v2.py'

model = dict(type='MoCHi', hardest=256, of_keys=256, of_query=64)
