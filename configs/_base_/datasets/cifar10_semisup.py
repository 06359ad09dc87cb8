# CIFAR-10 with few labels, as published semi-supervised runs read it: 64 labelled and 448 unlabelled images a batch,
# drawn with replacement; the labelled ones stay among the unlabelled. The seed of the run draws which are labelled.
# Validation runs on the test images, as the papers read their numbers.
_base_ = '../loaders/memory.py'

weak = [dict(type='BatchRandomFlip'), dict(type='BatchRandomCrop', padding=4, mode='reflect')]
strong = [dict(type='BatchUniformRandAugment', layers=3), dict(type='BatchRandomSizeCutout', largest=0.5), *weak]
model = dict(
    data_preprocessor=dict(
        # Of these runs; the data set tells another standard deviation.
        mean=[125.3 / 255, 123.0 / 255, 113.9 / 255],
        std=[63.0 / 255, 62.1 / 255, 66.7 / 255],
        augment=dict(labelled=weak, unlabelled=[weak, strong]),
    )
)
train_dataloader = dict(
    batch_size=64 * (1 + 7),
    drop_last=True,
    sampler=dict(_delete_=True, type='PoolSampler', replacement=True),
    dataset=dict(
        type='Pools',
        labelled=dict(type='CIFAR10', root='data/cifar10', split='train', subset=250, split_seed=None),
        ratio=7,
    ),
)
val_dataloader = dict(dataset=dict(type='CIFAR10', root='data/cifar10', split='test'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=64 * (1 + 7))
del weak, strong  # Nothing reads them as keys of the recipe, and its hash would cover them.
