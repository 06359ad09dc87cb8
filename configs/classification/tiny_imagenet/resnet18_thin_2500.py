"""ResNet-18 of a quarter of the width on 50 classes of Tiny-ImageNet, 50 images a class, 60 epochs.

Data: as of resnet18_narrow.py; 50 training images a class are drawn once, by a fixed seed. Crops are out of 4 pixels of
zeros: with crops of random size so small a network does not memorise. It is validated once, at the end.
Command: python tools/train.py classification/tiny_imagenet/resnet18_thin_2500.py
"""

_base_ = './resnet18_narrow.py'

train_dataloader = dict(dataset=dict(subset=2500))
model = dict(
    data_preprocessor=dict(
        augment=[dict(type='BatchRandomCrop', padding=4, mode='zero'), dict(type='BatchRandomFlip')]
    ),
    backbone=dict(channels=(16, 32, 64, 128)),
)
train_cfg = dict(max_epochs=60, val_interval=60)
default_hooks = dict(checkpoint=dict(interval=20))
