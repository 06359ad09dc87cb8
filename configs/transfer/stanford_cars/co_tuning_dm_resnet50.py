"""Co-Tuning with Mixup and DM(CE) on Stanford-Cars with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 51.78, 74.15 and 83.02 % with 15, 30 and 50 % of the labels.
It does not state eta for ResNet-50.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/stanford_cars/co_tuning_dm_resnet50.py
"""

_base_ = '../cub200/co_tuning_dm_resnet50.py'

train_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
val_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
test_dataloader = val_dataloader
