"""MoCo v2 with Mixup of query and key views (cross-view, variant B) on Tiny-ImageNet, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/tiny_imagenet/moco_v2_mixup_both.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='both')
