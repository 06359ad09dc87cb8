# Fashion-MNIST at 28 px, batch 100, crop out of 4 pixels of zeros, flip: the usual augmentation of small images.
# Validation runs on the test images every epoch. To choose anything by validation, hold images out: val_fraction=0.1
# in both data sets and split='val' in the second.
_base_ = '../loaders/memory.py'

model = dict(
    data_preprocessor=dict(augment=[dict(type='BatchRandomCrop', padding=4, mode='zero'), dict(type='BatchRandomFlip')])
)
train_dataloader = dict(batch_size=100, dataset=dict(type='FashionMNIST', root='data/fashion_mnist', split='train'))
val_dataloader = dict(dataset=dict(type='FashionMNIST', root='data/fashion_mnist', split='test'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=100)
