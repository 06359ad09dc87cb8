"""Remix on long-tailed digits: the first class has 20 times as many training images as the last.

Command: python tools/train.py classification/digits/remix_long_tailed.py
"""

_base_ = './resnet20.py'

model = dict(policy=dict(_delete_=True, type='Remix', policy=dict(type='Mixup', alpha=1.0)))
train_dataloader = dict(dataset=dict(subset=dict(imbalance=20)))
