"""DeiT-S on ImageNet-1k with DeiT training, as in Decoupled Mixup, Tables 4 and 10.

Published: 79.80 % (MCE) and 80.37 % (DM(CE)), median of the last 10 of 300 epochs. Validation reports the
moving average of the weights.
Command: python tools/train.py classification/imagenet/deit_small.py
"""

_base_ = [
    '../../_base_/datasets/imagenet_deit.py',
    '../../_base_/schedules/adamw_cosine_warmup.py',
    '../../_base_/runtime.py',
]

model = dict(
    type='MixClassifier',
    backbone=dict(type='TimmBackbone', name='deit_small_patch16_224', drop_path_rate=0.1),
    head=dict(type='LinearHead', init_std=0.02, loss=dict(type='mix_ce', smoothing=0.1)),
    policy=dict(
        type='OneOf',
        policies=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# 0.99996 of the old value a step.
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=4e-5)]
