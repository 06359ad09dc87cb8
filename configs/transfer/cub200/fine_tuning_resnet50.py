"""Fine-tuning on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 45.25, 59.68 and 70.12 % with 15, 30 and 50 % of the labels.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/cub200/fine_tuning_resnet50.py
"""

_base_ = [
    '../../_base_/datasets/cub200_few.py',
    '../../_base_/schedules/transfer_9k.py',
    '../../_base_/runtime.py',
]

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet50', weights='IMAGENET1K_V1'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
    ten_crop=224,
)
default_hooks = dict(logger=dict(interval=100), checkpoint=dict(interval=1000, by_epoch=False))
