"""ResNet-18 (CIFAR stem) on CIFAR-10, as OpenMixup's benchmark page trains it.

Published: vanilla 94.87 %, Mixup (alpha 1) 95.70 %, CutMix (alpha 0.2) 96.11 %, median of the last 10 of 200 epochs.
Command: python tools/train.py classification/cifar10/resnet18.py
"""

_base_ = ['../../_base_/datasets/cifar10.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    data_preprocessor=dict(
        augment=[dict(type='BatchRandomCrop', padding=4, mode='zero'), dict(type='BatchRandomFlip')]
    ),
    backbone=dict(type='CIFARResNet', depth=18),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=200)
# The runs behind the printed numbers step the learning rate once an epoch.
published = {'param_scheduler.0.convert_to_iter_based': False}
