"""ResNet-20 on 10,000 images of CIFAR-10, from a folder of images: a comparison that fits an hour of two CPU cores.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). 1,000 training images a class and 200 test
images a class are drawn once, by a fixed seed.
Command: python tools/train.py classification/cifar10/resnet20_small.py
"""

_base_ = ['../../_base_/datasets/cifar10.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

images = dict(
    _delete_=True,
    type='ImageFolder',
    root='data/cifar10_images',
    in_memory=True,
    size=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)
train_dataloader = dict(pin_memory=False, dataset=dict(split='train', subset=10000, **images))
val_dataloader = dict(pin_memory=False, dataset=dict(split='test', subset=2000, **images))
test_dataloader = val_dataloader

model = dict(
    type='MixClassifier',
    data_preprocessor=dict(channels_last=True),
    backbone=dict(type='ThinResNet', depth=20, width=16),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='auto', optimizer=dict(lr=0.1, weight_decay=5e-4))
train_cfg = dict(max_epochs=20)
