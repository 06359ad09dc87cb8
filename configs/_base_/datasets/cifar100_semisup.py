# CIFAR-100 with few labels: batches, views and splits of CIFAR-10.
_base_ = 'cifar10_semisup.py'

model = dict(
    data_preprocessor=dict(
        mean=[129.3 / 255, 124.1 / 255, 112.4 / 255],
        std=[68.2 / 255, 65.4 / 255, 70.4 / 255],
    )
)
train_dataloader = dict(dataset=dict(labelled=dict(type='CIFAR100', root='data/cifar100', subset=400)))
val_dataloader = dict(dataset=dict(type='CIFAR100', root='data/cifar100'))
test_dataloader = val_dataloader
