"""GridMix on digits.

Command: python tools/train.py classification/digits/grid_mix.py
"""

_base_ = './resnet20.py'

model = dict(policy=dict(_delete_=True, type='GridMix', alpha=1.0, grid=4))
