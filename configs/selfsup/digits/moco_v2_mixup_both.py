"""MoCo v2 with Mixup of query and key views (cross-view, variant B) on digits.

Command: python tools/train.py selfsup/digits/moco_v2_mixup_both.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='both')
