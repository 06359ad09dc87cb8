# CUB-200-2011 for transfer with 15 % of the labels: 24 labelled and 24 unlabelled images a batch, two strong views of
# each, as in Self-Tuning's released code. The labelled images, that share of each class rounded up, are not among the
# unlabelled ones; the seed of the run draws them. Validation runs on the test images, squeezed to the same square, for
# a model with ten_crop=224.
_base_ = 'cub200.py'

square = dict(type='torchvision/Resize', size=(256, 256), interpolation='bilinear')
view = [
    square,
    dict(type='torchvision/RandomResizedCrop', size=224),
    dict(type='torchvision/RandomHorizontalFlip'),
    dict(type='LevelRandAugment', layers=2, prob=0.5),
    dict(type='Cutout', size=16),
]
views = [dict(type='MultiView', views=[view, view])]
train_dataloader = dict(
    batch_size=24 * (1 + 1),
    drop_last=True,
    sampler=dict(_delete_=True, type='PoolSampler'),
    dataset=dict(
        _delete_=True,
        type='Pools',
        labelled=dict(type='CUB200', root='data/cub200', split='train', subset=0.15, split_seed=None, pipeline=views),
        ratio=1,
        keep_labelled=False,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=[square]))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=24 * (1 + 1))
del square, view, views  # Nothing reads them as keys of the recipe, and its hash would cover them.
