"""ResNet-18 of half the width, with ImageNet's stem, on 50 classes of Tiny-ImageNet: 10 epochs in minutes of a CPU.

Data: data/tiny-imagenet-50 is the official folder with 50 classes in its wnids.txt; 500 training images of each.
Command: python tools/train.py classification/tiny_imagenet/resnet18_narrow.py
"""

_base_ = ['../../_base_/datasets/tiny_imagenet.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

root = 'data/tiny-imagenet-50'
train_dataloader = dict(pin_memory=False, dataset=dict(root=root))
val_dataloader = dict(pin_memory=False, dataset=dict(root=root))
test_dataloader = val_dataloader

model = dict(
    type='MixClassifier',
    data_preprocessor=dict(channels_last=True),
    # A stem of stride 4 in all leaves 16 x 16 positions of the 64 px.
    backbone=dict(type='TimmBackbone', name='resnet18', channels=(32, 64, 128, 256)),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='auto', optimizer=dict(lr=0.1, weight_decay=5e-4))
train_cfg = dict(max_epochs=10)
