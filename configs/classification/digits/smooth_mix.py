"""SmoothMix on digits.

Command: python tools/train.py classification/digits/smooth_mix.py
"""

_base_ = './resnet20.py'

model = dict(policy=dict(_delete_=True, type='SmoothMix'))
