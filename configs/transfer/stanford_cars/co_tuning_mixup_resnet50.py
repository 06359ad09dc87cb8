"""Co-Tuning with Mixup on Stanford-Cars with 15 % of the labels, ResNet-50 from ImageNet weights.

For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/stanford_cars/co_tuning_mixup_resnet50.py
"""

_base_ = '../cub200/co_tuning_mixup_resnet50.py'

train_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
val_dataloader = dict(dataset=dict(type='StanfordCars', root='data/stanford_cars'))
test_dataloader = val_dataloader
