"""Un-Mix on MoCo v2 on ImageNet-1k, ResNet-50.

Command: python tools/train.py selfsup/imagenet/un_mix.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(type='OneOf', policies=[dict(type='Mixup', share='batch'), dict(type='CutMix', share='batch')]),
    partners='reversed',
)
