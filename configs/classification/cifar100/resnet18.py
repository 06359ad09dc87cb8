"""ResNet-18 (CIFAR stem) on CIFAR-100, as in Decoupled Mixup, Table 1.

Published: Mixup 79.12 % (MCE) and 80.24 % (DM(CE)), CutMix 78.17 % and 79.09 %, median of the last 10 of 800 epochs.
Command: python tools/train.py classification/cifar100/resnet18.py
"""

_base_ = ['../../_base_/datasets/cifar100.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='CIFARResNet', depth=18),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=800)
# The runs behind the printed numbers step the learning rate once an epoch and normalise by the statistics of CIFAR-10.
published = {
    'param_scheduler.0.convert_to_iter_based': False,
    'model.data_preprocessor.mean': (0.4914, 0.4822, 0.4465),
    'model.data_preprocessor.std': (0.2023, 0.1994, 0.2010),
}
