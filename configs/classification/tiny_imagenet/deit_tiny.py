"""A small DeiT on 50 classes of Tiny-ImageNet, trained as DeiT-S on ImageNet: 3 epochs in minutes of a CPU.

Data: data/tiny-imagenet-50 is the official folder with 50 classes in its wnids.txt; 500 training images of each.
Validation reports the moving average of the weights, and the raw ones beside it.
Command: python tools/train.py classification/tiny_imagenet/deit_tiny.py
"""

_base_ = '../imagenet/deit_small.py'

images = dict(_delete_=True, type='TinyImageNet', root='data/tiny-imagenet-50')
train_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(split='train', **images),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(split='test', **images),
)
test_dataloader = val_dataloader

model = dict(
    # Without RandAugment, which works on single images: these are augmented as whole batches.
    data_preprocessor=dict(
        augment=[
            dict(type='BatchRandomResizedCrop', size=64, interpolation='bicubic'),
            dict(type='BatchRandomFlip'),
            dict(type='BatchRandomErasing', p=0.25),
        ]
    ),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        name='deit_tiny_patch16_224',
        img_size=64,
        patch_size=8,
        depth=4,
        drop_path_rate=0.1,
    ),
)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='auto')
# An epoch of warm-up, and an average over a hundred steps: a run has 750.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, by_epoch=True, convert_to_iter_based=True),
]
# The last of the base is its own average.
custom_hooks = [*_base_.custom_hooks[:-1], dict(type='EMAHook', momentum=0.01)]
train_cfg = dict(max_epochs=3)
auto_scale_lr = dict(base_batch_size=100)
