# ImageNet-1k as DeiT reads it: batch 1024, RandAugment 9/0.5, random erasing, an epoch of a third of the images with
# three copies of each, tested on the centre 0.875.
# Validation runs on the official validation images every epoch, as the papers read their numbers. To choose
# anything by validation, hold images out: val_fraction=0.01 in both data sets and split='val' in the second.
model = dict(
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomErasing', p=0.25)]),
)
train_dataloader = dict(
    batch_size=1024,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type='ImageNet',
        root='data/imagenet',
        split='train',
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
            dict(type='RandAugment', magnitude=9, std=0.5),
        ],
    ),
    sampler=dict(type='RepeatedAugSampler', repeats=3),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type='ImageNet',
        root='data/imagenet',
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
auto_scale_lr = dict(base_batch_size=1024, enable=False)
