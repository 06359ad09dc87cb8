"""Un-Mix on MoCo v2 on CIFAR-10, ResNet-18 with CIFAR stem.

Command: python tools/train.py selfsup/cifar10/un_mix.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(type='OneOf', policies=[dict(type='Mixup', share='batch'), dict(type='CutMix', share='batch')]),
    partners='reversed',
)
