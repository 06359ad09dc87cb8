"""Swin-T on CIFAR-100 at 224 px with DeiT training, as on OpenMixup's benchmark page.

Published: 81.25 % in 200 epochs and 84.82 % in 600 (MCE), the best of the last 10 epochs.
Command: python tools/train.py classification/cifar100/swin_tiny.py
"""

_base_ = 'deit_small.py'

model = dict(backbone=dict(name='swin_tiny_patch4_window7_224', drop_path_rate=0.2))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
