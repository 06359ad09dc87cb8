"""MoCo v2 on CIFAR-10, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/cifar10/moco_v2.py
"""

_base_ = '../../_base_/selfsup/cifar10.py'
