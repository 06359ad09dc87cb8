"""MoCo v2 with CutMix of the query views on ImageNet-1k, ResNet-50.

Command: python tools/train.py selfsup/imagenet/moco_v2_cutmix.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='CutMix', share='batch'), views='cross')
