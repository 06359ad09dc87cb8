"""MoCo v2 with Mixup of the query views (cross-view, variant A) on digits.

Command: python tools/train.py selfsup/digits/moco_v2_mixup.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='cross')
