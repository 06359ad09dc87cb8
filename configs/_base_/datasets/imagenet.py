# ImageNet-1k as PyTorch-style training reads it: batch 256, RandomResizedCrop and flip at 224 px, tested on the
# centre 0.875.
# Validation runs on the official validation images every epoch, as the papers read their numbers. To choose
# anything by validation, hold images out: val_fraction=0.01 in both data sets and split='val' in the second.
_base_ = '../loaders/files.py'

train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    dataset=dict(
        type='ImageNet',
        root='data/imagenet',
        split='train',
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    dataset=dict(
        type='ImageNet',
        root='data/imagenet',
        split='test',
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
            dict(type='torchvision/CenterCrop', size=224),
        ],
    ),
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=256)
