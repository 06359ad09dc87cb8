"""MoCo v2 with Mixup of the query views (cross-view, variant A) on CIFAR-10, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/cifar10/moco_v2_mixup.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='cross')
