"""ResNet-18 on ImageNet-1k in 100 epochs, as in Decoupled Mixup, Table 2 (PyTorch-style training).

Published: vanilla 70.04 %, Mixup 69.98 % (MCE) and 70.10 % (DM(CE)), median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet18_100ep.py
"""

_base_ = ['../../_base_/datasets/imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet18'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
