"""MoCHi on ImageNet-1k, ResNet-50.

Command: python tools/train.py selfsup/imagenet/mochi.py
"""

_base_ = 'moco_v2.py'

model = dict(type='MoCHi', warmup_epochs=15)
