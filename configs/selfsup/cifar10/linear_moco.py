"""Linear evaluation on CIFAR-10, ResNet-18 with CIFAR stem, as MoCo's released code has it.

The learning rate is 30, divided by 10 at epochs 60 and 80.
Command: python tools/train.py selfsup/cifar10/linear_moco.py --weights CHECKPOINT
"""

_base_ = 'linear_paper.py'

optim_wrapper = dict(optimizer=dict(lr=30.0))
param_scheduler = [dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True)]
