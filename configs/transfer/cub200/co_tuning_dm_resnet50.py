"""Co-Tuning with Mixup and DM(CE) on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 54.96, 68.25 and 75.72 % with 15, 30 and 50 % of the labels.
It does not state eta for ResNet-50.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/cub200/co_tuning_dm_resnet50.py
"""

_base_ = 'co_tuning_mixup_resnet50.py'

model = dict(head=dict(loss=dict(_delete_=True, type='decoupled_ce', eta=0.1)))
