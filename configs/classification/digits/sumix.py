"""CutMix with SUMix on digits: label shares by semantic distance, and a loss of uncertainty, 15 epochs.

Command: python tools/train.py classification/digits/sumix.py
"""

_base_ = 'resnet20.py'

model = dict(policy=dict(_delete_=True, type='SUMix', policy=dict(type='CutMix', alpha=0.2)))
