# MoCo v2 on CIFAR-10 at 32 px, without blur as i-Mix and Un-Mix have it there, and with batch norm in 8 parts of a
# batch, as in MoCo's notebook for one GPU.
_base_ = ['../datasets/cifar10.py', '../schedules/sgd_cosine.py', '../runtime.py']

transforms = [
    dict(type='BatchRandomResizedCrop', size=32, scale=(0.2, 1.0), interpolation='bilinear'),
    dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
    dict(type='BatchRandomFlip'),
]
model = dict(
    type='MoCo',
    backbone=dict(type='CIFARResNet', depth=18),
    queue=4096,
    momentum=0.99,
    bn_splits=8,
    data_preprocessor=dict(augment=[dict(type='BatchMultiView', transforms=transforms)]),
)
train_dataloader = dict(batch_size=512, drop_last=True)
optim_wrapper = dict(optimizer=dict(lr=0.06, weight_decay=5e-4))
# One step of the cosine an epoch.
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=200, val_interval=5)
val_evaluator = dict(_delete_=True, type='KNNAccuracy', k=200, temperature=0.1)
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='FeatureBankHook')]
auto_scale_lr = dict(base_batch_size=512)
del transforms  # Nothing reads it as a key of the recipe, and its hash would cover it.
