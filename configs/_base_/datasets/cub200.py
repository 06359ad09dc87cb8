# CUB-200-2011 as both papers fine-tune on it: batch 16, RandomResizedCrop and flip at 224 px.
# Validation runs on the test images every epoch, as the papers read their numbers. To choose anything by
# validation, hold images out: val_fraction=0.1 in both data sets and split='val' in the second.
model = dict(data_preprocessor=dict(type='ImagePreprocessor'))
# The papers name the transforms only; their sizes and bounds are those of the runs behind the tables.
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
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
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type='CUB200',
        root='data/cub200',
        split='test',
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
            dict(type='torchvision/CenterCrop', size=224),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='identity_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# The global batch that recipes state their learning rate for.
auto_scale_lr = dict(base_batch_size=16, enable=False)
