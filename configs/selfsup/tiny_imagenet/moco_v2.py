"""MoCo v2 on Tiny-ImageNet, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/tiny_imagenet/moco_v2.py
"""

_base_ = '../../_base_/selfsup/tiny_imagenet.py'
