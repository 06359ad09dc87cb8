"""ResNet-50 on ImageNet-1k in 300 epochs (PyTorch-style training).

Published: vanilla 77.35 %, Mixup 78.44 % (Automatic Mixup, Table 3, at a global batch of 200),
median of the last 10 epochs.
Command: python tools/train.py classification/imagenet/resnet50_300ep.py
"""

_base_ = ['../../_base_/datasets/imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet50'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=300)
