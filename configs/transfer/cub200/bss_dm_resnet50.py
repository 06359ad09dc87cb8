"""BSS with Mixup and DM(CE) on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/cub200/bss_dm_resnet50.py
"""

_base_ = 'bss_mixup_resnet50.py'

model = dict(head=dict(loss=dict(_delete_=True, type='decoupled_ce', eta=0.1)))
