# STL-10 at 96 px, batch 100, RandomResizedCrop and flip, the 5,000 labelled training images. Automatic mixup states
# the transforms; the batch is that of its other small sets.
# Validation runs on the test images every epoch, as the papers read their numbers. To choose anything by
# validation, hold images out: val_fraction=0.1 in both data sets and split='val' in the second.
_base_ = '../loaders/memory.py'

model = dict(
    data_preprocessor=dict(
        augment=[
            dict(type='BatchRandomResizedCrop', size=96, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='BatchRandomFlip'),
        ]
    )
)
train_dataloader = dict(batch_size=100, dataset=dict(type='STL10', root='data/stl10', split='train'))
val_dataloader = dict(dataset=dict(type='STL10', root='data/stl10', split='test'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=100)
