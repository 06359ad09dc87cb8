# CUB-200-2011 as both papers fine-tune on it: batch 16, RandomResizedCrop and flip at 224 px.
# Validation runs on the test images every epoch, as the papers read their numbers. To choose anything by
# validation, hold images out: val_fraction=0.1 in both data sets and split='val' in the second.
_base_ = '../loaders/files.py'

# The papers name the transforms only; their sizes and bounds are those of the runs behind the tables.
train_dataloader = dict(
    batch_size=16,
    drop_last=True,
    dataset=dict(
        type='CUB200',
        root='data/cub200',
        split='train',
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
            dict(type='torchvision/RandomResizedCrop', size=224, scale=(0.5, 1.0), interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CUB200',
        root='data/cub200',
        split='test',
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
            dict(type='torchvision/CenterCrop', size=224),
        ],
    )
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=16)
