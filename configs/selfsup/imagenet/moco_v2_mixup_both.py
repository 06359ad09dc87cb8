"""MoCo v2 with Mixup of query and key views (cross-view, variant B) on ImageNet-1k, ResNet-50.

Command: python tools/train.py selfsup/imagenet/moco_v2_mixup_both.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='both')
