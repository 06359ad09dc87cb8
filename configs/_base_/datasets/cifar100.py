# CIFAR-100 as both papers train on it: batch, crop and flip of CIFAR-10, validation on the test images.
_base_ = 'cifar10.py'

train_dataloader = dict(dataset=dict(type='CIFAR100', root='data/cifar100'))
val_dataloader = dict(dataset=dict(type='CIFAR100', root='data/cifar100'))
test_dataloader = val_dataloader
