"""Un-Mix on MoCo v2 on the unlabelled images of STL-10, ResNet-18.

Command: python tools/train.py selfsup/stl10/un_mix.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(type='OneOf', policies=[dict(type='Mixup', share='batch'), dict(type='CutMix', share='batch')]),
    partners='reversed',
)
