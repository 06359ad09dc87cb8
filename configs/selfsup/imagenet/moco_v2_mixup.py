"""MoCo v2 with Mixup of the query views (cross-view, variant A) on ImageNet-1k, ResNet-50.

Command: python tools/train.py selfsup/imagenet/moco_v2_mixup.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='cross')
