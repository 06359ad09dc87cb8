"""Linear evaluation on ImageNet-1k, ResNet-50, as Automatic Mixup, Section 4.2.

The learning rate is 30, divided by 10 at epochs 30 and 60.
Command: python tools/train.py selfsup/imagenet/linear_paper.py --weights CHECKPOINT
"""

_base_ = ['../../_base_/datasets/imagenet.py', '../../_base_/schedules/linear_probe.py', '../../_base_/runtime.py']

model = dict(
    type='LinearProbe',
    backbone=dict(type='TorchvisionBackbone', name='resnet50'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
)
val_evaluator = dict(prefix='linear')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=30.0))
custom_hooks = [*_base_.custom_hooks, dict(type='FrozenBackboneHook')]
