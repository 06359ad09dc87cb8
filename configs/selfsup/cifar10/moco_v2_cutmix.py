"""MoCo v2 with CutMix of the query views on CIFAR-10, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/cifar10/moco_v2_cutmix.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='CutMix', share='batch'), views='cross')
