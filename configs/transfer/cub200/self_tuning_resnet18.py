"""Self-Tuning on CUB-200-2011 with 15 % of the labels, ResNet-18 from ImageNet weights.

Published in Decoupled Mixup, Table 9: 57.82, 69.12 and 73.59 % with 15, 30 and 50 % of the labels, best validation.
For more labels: --cfg-options train_dataloader.dataset.labelled.subset=0.3
Command: python tools/train.py transfer/cub200/self_tuning_resnet18.py
"""

_base_ = ['self_tuning_resnet50.py', '../../_base_/transfer/openmixup.py']

model = dict(backbone=dict(name='resnet18'))
