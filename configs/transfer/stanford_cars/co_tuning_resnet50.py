"""Co-Tuning on Stanford-Cars with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 46.02, 69.09 and 80.66 % with 15, 30 and 50 % of the labels.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/stanford_cars/co_tuning_resnet50.py
"""

_base_ = '../cub200/co_tuning_resnet50.py'

train_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
val_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
test_dataloader = val_dataloader
