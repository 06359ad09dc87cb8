"""Self-Tuning with DM(CE) and asymmetric mixing on Stanford-Cars, 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 81.69, 89.22 and 91.26 % with 15, 30 and 50 % of the labels, best validation.
For more labels: --cfg-options train_dataloader.dataset.labelled.subset=0.3
Command: python tools/train.py transfer/stanford_cars/self_tuning_dm_resnet50.py
"""

_base_ = '../cub200/self_tuning_dm_resnet50.py'

train_dataloader = dict(dataset=dict(labelled=dict(type='StanfordCars', root='data/stanford_cars')))
val_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
test_dataloader = val_dataloader
