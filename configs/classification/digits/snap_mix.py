"""SnapMix on digits, with class activation maps of the last stage, 15 epochs.

Command: python tools/train.py classification/digits/snap_mix.py
"""

_base_ = 'resnet20.py'

model = dict(policy=dict(_delete_=True, type='SnapMix', site='layer3'))
