"""ResNet-20 on scikit-learn's digits at 16 px: a real data set that needs no download.

Command: python tools/train.py classification/digits/resnet20.py
Cost: about 20 s on two CPU cores.
"""

_base_ = ['../../_base_/datasets/digits.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='ThinResNet', depth=20, width=16),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=5e-4, nesterov=True))
train_cfg = dict(max_epochs=15)
