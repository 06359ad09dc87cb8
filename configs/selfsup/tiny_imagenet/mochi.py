"""MoCHi on Tiny-ImageNet, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/tiny_imagenet/mochi.py
"""

_base_ = 'moco_v2.py'

model = dict(type='MoCHi')
