"""ResNet-101 on ImageNet-1k in 100 epochs, trained as Decoupled Mixup, Table 2, trains its smaller networks.

The table has no number for it.
Command: python tools/train.py classification/imagenet/resnet101_100ep.py
"""

_base_ = ['../../_base_/datasets/imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet101'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
