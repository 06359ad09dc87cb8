"""Swin-T on ImageNet-1k with DeiT training, as in Decoupled Mixup, Tables 4 and 10.

Published: 81.28 % (MCE) and 81.49 % (DM(CE)), median of the last 10 of 300 epochs. Validation reports the
moving average of the weights.
Command: python tools/train.py classification/imagenet/swin_tiny.py
"""

_base_ = 'deit_small.py'

model = dict(backbone=dict(name='swin_tiny_patch4_window7_224'))
