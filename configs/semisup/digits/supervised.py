"""Supervised training on the 20 labelled digits alone, beside the semi-supervised methods: 2,000 steps.

Command: python tools/train.py semisup/digits/supervised.py
"""

_base_ = '../../_base_/semisup/digits.py'

views = _base_.model.data_preprocessor.augment
model = dict(type='MixClassifier', policy=dict(type='NoMix'), data_preprocessor=dict(augment=views.labelled))
train_dataloader = dict(
    batch_size=20,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(_delete_=True, type='Digits', split='train', subset=20, split_seed=None),
)
auto_scale_lr = dict(base_batch_size=20)
del views
