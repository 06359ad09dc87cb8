"""ResNet-18 of a quarter of the width on 40 classes of Tiny-ImageNet, the weights for transfer to ten others: 8 epochs.

Data: data/tiny-imagenet-40 is the official folder with 40 classes in its wnids.txt; 500 training images of each.
Command: python tools/train.py transfer/tiny_imagenet10/pretraining.py
"""

_base_ = '../../classification/tiny_imagenet/resnet18_narrow.py'

root = 'data/tiny-imagenet-40'
train_dataloader = dict(dataset=dict(root=root))
val_dataloader = dict(dataset=dict(root=root))
test_dataloader = val_dataloader
model = dict(backbone=dict(channels=(16, 32, 64, 128)))
train_cfg = dict(max_epochs=8, val_interval=4)
