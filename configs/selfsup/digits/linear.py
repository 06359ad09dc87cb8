"""Linear evaluation on digits, ResNet-8: to try a probe on a CPU.

Command: python tools/train.py selfsup/digits/linear.py --weights CHECKPOINT
"""

_base_ = ['../../_base_/datasets/digits.py', '../../_base_/schedules/linear_probe.py', '../../_base_/runtime.py']

model = dict(
    type='LinearProbe',
    backbone=dict(type='ThinResNet', depth=8, width=8),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
)
val_evaluator = dict(prefix='linear')
test_evaluator = val_evaluator
param_scheduler = [dict(type='MultiStepLR', milestones=[6, 8], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=10)
custom_hooks = [*_base_.custom_hooks, dict(type='FrozenBackboneHook')]
