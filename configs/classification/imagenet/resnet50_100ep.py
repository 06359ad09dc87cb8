"""ResNet-50 on ImageNet-1k in 100 epochs, as in Decoupled Mixup, Table 2 (PyTorch-style training).

Published: vanilla 76.83 %, Mixup 77.12 % (MCE) and 77.41 % (DM(CE)), median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet50_100ep.py
"""

_base_ = ['../../_base_/datasets/imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet50'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
