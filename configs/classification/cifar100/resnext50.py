"""ResNeXt-50 (32x4d, CIFAR stem) on CIFAR-100, as in Decoupled Mixup, Table 1.

Published: Mixup 82.10 % (MCE) and 82.96 % (DM(CE)), median of the last 10 of 800 epochs. The cutting policies' numbers
fit a weight decay of 5e-4 only.
Command: python tools/train.py classification/cifar100/resnext50.py
"""

_base_ = ['../../_base_/datasets/cifar100.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='CIFARResNeXt'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=800)
