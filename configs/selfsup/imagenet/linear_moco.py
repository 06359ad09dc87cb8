"""Linear evaluation on ImageNet-1k, ResNet-50, as MoCo's released code has it.

The learning rate is 30, divided by 10 at epochs 60 and 80.
Command: python tools/train.py selfsup/imagenet/linear_moco.py --weights CHECKPOINT
"""

_base_ = 'linear_paper.py'

param_scheduler = [dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True)]
