"""ResNeXt-101 (32x4d) on ImageNet-1k in 100 epochs, trained as Decoupled Mixup, Table 2, trains its ResNets.

The table has no number for it.
Command: python tools/train.py classification/imagenet/resnext101_100ep.py
"""

_base_ = ['../../_base_/datasets/imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TimmBackbone', name='resnext101_32x4d', zero_init_last=False),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
