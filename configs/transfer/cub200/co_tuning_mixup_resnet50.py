"""Co-Tuning with Mixup on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/cub200/co_tuning_mixup_resnet50.py
"""

_base_ = 'co_tuning_resnet50.py'

model = dict(policy=dict(_delete_=True, type='Mixup', alpha=0.2))
