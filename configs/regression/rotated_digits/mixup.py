"""Mixup on rotated digits, whose angle is to be told.

Command: python tools/train.py regression/rotated_digits/mixup.py
"""

_base_ = './resnet20.py'

model = dict(policy=dict(_delete_=True, type='Mixup', alpha=2.0))
