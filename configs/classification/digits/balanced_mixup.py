"""Mixup whose partners are drawn so that every class of the batch is as likely, on digits.

Command: python tools/train.py classification/digits/balanced_mixup.py
"""

_base_ = './resnet20.py'

model = dict(
    policy=dict(_delete_=True, type='PairedBy', by='class_balance', policy=dict(type='Mixup', alpha=1.0)),
)
