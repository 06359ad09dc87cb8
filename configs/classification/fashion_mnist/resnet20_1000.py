"""ResNet-20 on 1,000 images of Fashion-MNIST: few images, many epochs, a network that memorises them.

Data: python tools/prepare_dataset.py FashionMNIST --root data/fashion_mnist, or Debian's package dataset-fashion-mnist
with train_dataloader.dataset.root=/usr/share/datasets/fashion-mnist, and so for val_dataloader. 100 training images
a class are drawn once, by a fixed seed; 2,000 test images are validated on.
Command: python tools/train.py classification/fashion_mnist/resnet20_1000.py
"""

_base_ = ['../../_base_/datasets/fashion_mnist.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

train_dataloader = dict(pin_memory=False, dataset=dict(subset=1000))
val_dataloader = dict(pin_memory=False, dataset=dict(subset=2000))
test_dataloader = val_dataloader

model = dict(
    type='MixClassifier',
    data_preprocessor=dict(channels_last=True),
    backbone=dict(type='ThinResNet', depth=20, width=16),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='auto', optimizer=dict(lr=0.1, weight_decay=5e-4))
train_cfg = dict(max_epochs=100, val_interval=20)
