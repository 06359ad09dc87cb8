"""MoCo v2 with CutMix of the query views on Tiny-ImageNet, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/tiny_imagenet/moco_v2_cutmix.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='CutMix', share='batch'), views='cross')
