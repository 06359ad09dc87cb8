"""ResNeXt-50 (32x4d) on FGVC-Aircraft from torchvision's ImageNet weights: Decoupled Mixup, Table 5,
and Automatic Mixup, Table 2.

Published: vanilla 85.10 %, Mixup 85.18 % (Automatic Mixup), median of the last 10 of 200 epochs.
Without a network: --cfg-options model.backbone.weights=None model.backbone.checkpoint=FILE, the file saved elsewhere.
Command: python tools/train.py classification/fgvc_aircraft/resnext50.py
"""

_base_ = ['../../_base_/datasets/fgvc_aircraft.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnext50_32x4d', weights='IMAGENET1K_V1'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-4))
train_cfg = dict(max_epochs=200)
