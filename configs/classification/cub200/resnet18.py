"""ResNet-18 on CUB-200-2011 from torchvision's ImageNet weights, as in Decoupled Mixup, Table 5.

Published: Mixup 78.39 % (MCE) and 79.90 % (DM(CE)), median of the last 10 of 200 epochs.
Without a network: --cfg-options model.backbone.weights=None model.backbone.checkpoint=FILE, the file saved elsewhere.
Command: python tools/train.py classification/cub200/resnet18.py
"""

_base_ = ['../../_base_/datasets/cub200.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet18', weights='IMAGENET1K_V1'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-4))
train_cfg = dict(max_epochs=200)
# The runs behind the printed numbers step the learning rate once an epoch, normalise by the statistics of CIFAR-10, and
# resize bilinearly.
published = {
    'param_scheduler.0.convert_to_iter_based': False,
    'model.data_preprocessor.mean': (0.4914, 0.4822, 0.4465),
    'model.data_preprocessor.std': (0.2023, 0.1994, 0.2010),
    'train_dataloader.dataset.pipeline.0.interpolation': 'bilinear',
    'train_dataloader.dataset.pipeline.1.interpolation': 'bilinear',
    'val_dataloader.dataset.pipeline.0.interpolation': 'bilinear',
    'test_dataloader.dataset.pipeline.0.interpolation': 'bilinear',
}
