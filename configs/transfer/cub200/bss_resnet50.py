"""BSS on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 47.74, 63.38 and 72.56 % with 15, 30 and 50 % of the labels.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/cub200/bss_resnet50.py
"""

_base_ = 'fine_tuning_resnet50.py'

model = dict(type='BSS', weight=0.001, count=1)
