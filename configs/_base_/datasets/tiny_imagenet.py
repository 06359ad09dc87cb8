# Tiny-ImageNet-200 at 64 px, batch 100, RandomResizedCrop and flip. The papers differ on the crop: decoupled
# mixup states a 4 px padded crop, automatic mixup RandomResizedCrop, and the runs behind both used the latter.
# Validation runs on the official validation images every epoch, as the papers read their numbers. To choose
# anything by validation, hold images out: val_fraction=0.1 in both data sets and split='val' in the second.
_base_ = '../loaders/memory.py'

model = dict(
    data_preprocessor=dict(
        augment=[
            dict(type='BatchRandomResizedCrop', size=64, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='BatchRandomFlip'),
        ]
    )
)
train_dataloader = dict(batch_size=100, dataset=dict(type='TinyImageNet', root='data/tiny-imagenet-200', split='train'))
val_dataloader = dict(dataset=dict(type='TinyImageNet', root='data/tiny-imagenet-200', split='test'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=100)
