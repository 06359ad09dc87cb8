"""RegMixup on digits: the loss of the clean images plus that of the mixed ones, 15 epochs.

Command: python tools/train.py classification/digits/reg_mixup.py
"""

_base_ = 'resnet20.py'

model = dict(policy=dict(_delete_=True, type='RegMixup'))
