# CIFAR-10 as both papers train on it: batch 100, crop out of 4 reflected pixels, flip.
# Validation runs on the test images every epoch, as the papers read their numbers. To choose anything by
# validation, hold images out: val_fraction=0.1 in both data sets and split='val' in the second.
_base_ = '../loaders/memory.py'

model = dict(
    data_preprocessor=dict(
        augment=[dict(type='BatchRandomCrop', padding=4, mode='reflect'), dict(type='BatchRandomFlip')]
    )
)
train_dataloader = dict(batch_size=100, dataset=dict(type='CIFAR10', root='data/cifar10', split='train'))
val_dataloader = dict(dataset=dict(type='CIFAR10', root='data/cifar10', split='test'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=100)
