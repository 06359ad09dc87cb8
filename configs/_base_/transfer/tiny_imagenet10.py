# Ten classes of Tiny-ImageNet, from weights that were trained on 40 others: of each class 60 images are the pool, of
# which 15 % are labelled, and of the other 440 training images 200 are the test. 300 steps of 24 images at ten times
# the published rates, which fall tenfold after two thirds. The seed of the run draws pool, labels and test.
# Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
# Weights: --weights of a run of transfer/tiny_imagenet10/pretraining.py.
_base_ = ['../loaders/memory.py', '../schedules/transfer_9k.py', '../runtime.py']

images = dict(type='TinyImageNet', root='data/tiny-imagenet-10', val_fraction=0.88, split_seed=None)
model = dict(
    type='MixClassifier',
    data_preprocessor=dict(
        channels_last=True,
        augment=[dict(type='BatchRandomResizedCrop', scale=(0.25, 1.0)), dict(type='BatchRandomFlip')],
    ),
    backbone=dict(type='TimmBackbone', name='resnet18', channels=(16, 32, 64, 128)),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
train_dataloader = dict(
    batch_size=24, pin_memory=False, drop_last=True, dataset=dict(split='train', subset=0.15, **images)
)
val_dataloader = dict(pin_memory=False, dataset=dict(split='val', subset=2000, **images))
test_dataloader = val_dataloader
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(lr=1e-2, nesterov=True),
    paramwise_cfg=dict(parts=dict(head=dict(lr=1e-1))),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[200], gamma=0.1, by_epoch=False)]
auto_scale_lr = dict(base_batch_size=24)
train_cfg = dict(max_iters=300, val_interval=150)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=150, by_epoch=False))
del images  # Nothing reads it as a key of the recipe, and its hash would cover it.
