"""MoCo v2 with CutMix of the query views on digits.

Command: python tools/train.py selfsup/digits/moco_v2_cutmix.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='CutMix', share='batch'), views='cross')
