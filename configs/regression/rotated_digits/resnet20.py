"""ResNet-20 that tells the angle of rotated digits, at 16 px: real images with made targets, nothing to download.

Command: python tools/train.py regression/rotated_digits/resnet20.py
"""

_base_ = [
    '../../_base_/datasets/rotated_digits.py',
    '../../_base_/schedules/sgd_cosine.py',
    '../../_base_/runtime.py',
]

model = dict(
    type='MixRegressor',
    backbone=dict(type='ThinResNet', depth=20, width=16),
    head=dict(type='RegressionHead', loss=dict(type='mix_mse')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05))
train_cfg = dict(max_epochs=15)
