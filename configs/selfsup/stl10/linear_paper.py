"""Linear evaluation on STL-10's labelled images, ResNet-18, as Automatic Mixup, Section 4.2.

The learning rate is 0.1, divided by 10 at epochs 30 and 60.
Command: python tools/train.py selfsup/stl10/linear_paper.py --weights CHECKPOINT
"""

_base_ = ['../../_base_/datasets/stl10.py', '../../_base_/schedules/linear_probe.py', '../../_base_/runtime.py']

model = dict(
    type='LinearProbe',
    backbone=dict(type='TorchvisionBackbone', name='resnet18'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
)
train_dataloader = dict(batch_size=256)
val_evaluator = dict(prefix='linear')
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='FrozenBackboneHook')]
auto_scale_lr = dict(base_batch_size=256)
