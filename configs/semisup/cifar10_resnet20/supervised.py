"""Supervised training on 250 labelled images of CIFAR-10 alone, beside the semi-supervised methods: 13,000 steps.

Command: python tools/train.py semisup/cifar10_resnet20/supervised.py
"""

_base_ = '../../_base_/semisup/cifar10_resnet20.py'

views = _base_.model.data_preprocessor.augment
labelled = dict(_base_.train_dataloader.dataset.labelled)
model = dict(type='MixClassifier', policy=dict(type='NoMix'), data_preprocessor=dict(augment=views.labelled))
train_dataloader = dict(
    batch_size=64,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(_delete_=True, **labelled),
)
auto_scale_lr = dict(base_batch_size=64)
del views, labelled
