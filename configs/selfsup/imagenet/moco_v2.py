"""MoCo v2 on ImageNet-1k, ResNet-50.

Command: python tools/train.py selfsup/imagenet/moco_v2.py
"""

_base_ = '../../_base_/selfsup/imagenet.py'
