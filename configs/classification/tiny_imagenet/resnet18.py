"""ResNet-18 (CIFAR stem) on Tiny-ImageNet, as in Decoupled Mixup, Table 1.

Published: Mixup 63.86 % (MCE) and 65.07 % (DM(CE)), median of the last 10 of 400 epochs.
Command: python tools/train.py classification/tiny_imagenet/resnet18.py
"""

_base_ = ['../../_base_/datasets/tiny_imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='CIFARResNet', depth=18),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=1e-4))
train_cfg = dict(max_epochs=400)
# The runs behind the printed numbers step the learning rate once an epoch, normalise by the statistics of ImageNet, and
# resize crops bilinearly, as the released configs do until 2022-03-17.
published = {
    'param_scheduler.0.convert_to_iter_based': False,
    'model.data_preprocessor.mean': (0.485, 0.456, 0.406),
    'model.data_preprocessor.std': (0.229, 0.224, 0.225),
    'model.data_preprocessor.augment.0.interpolation': 'bilinear',
}
