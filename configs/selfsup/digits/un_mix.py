"""Un-Mix on MoCo v2 on digits.

Command: python tools/train.py selfsup/digits/un_mix.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(type='OneOf', policies=[dict(type='Mixup', share='batch'), dict(type='CutMix', share='batch')]),
    partners='reversed',
)
