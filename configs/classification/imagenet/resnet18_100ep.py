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
# The runs behind the printed numbers step the learning rate once an epoch, start the last batch norm of every residual
# block at 0, and resize bilinearly, as the released configs do until 2022-03-17.
published = {
    'param_scheduler.0.convert_to_iter_based': False,
    'model.backbone.zero_init_residual': True,
    'train_dataloader.dataset.pipeline.0.interpolation': 'bilinear',
    'val_dataloader.dataset.pipeline.0.interpolation': 'bilinear',
    'test_dataloader.dataset.pipeline.0.interpolation': 'bilinear',
}
