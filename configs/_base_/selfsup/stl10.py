# MoCo v2 on the 100,000 unlabelled images of STL-10; the 5,000 labelled ones are the bank of the nearest neighbours.
_base_ = ['../datasets/stl10.py', '../schedules/sgd_cosine.py', '../runtime.py']

transforms = [
    dict(type='BatchRandomResizedCrop', size=96, scale=(0.2, 1.0), interpolation='bilinear'),
    dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
    dict(type='BatchGaussianBlur', sigma=(0.1, 2.0), p=0.5),
    dict(type='BatchRandomFlip'),
]
model = dict(
    type='MoCo',
    backbone=dict(type='TorchvisionBackbone', name='resnet18'),
    queue=16384,
    data_preprocessor=dict(augment=[dict(type='BatchMultiView', transforms=transforms)]),
)
train_dataloader = dict(batch_size=256, drop_last=True, dataset=dict(split='unlabelled'))
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
# One step of the cosine an epoch.
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=400, val_interval=20)
val_evaluator = dict(_delete_=True, type='KNNAccuracy', k=200, temperature=0.1)
test_evaluator = val_evaluator
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='FeatureBankHook', dataset=dict(type='STL10', root='data/stl10', split='train')),
]
auto_scale_lr = dict(base_batch_size=256)
del transforms  # Nothing reads it as a key of the recipe, and its hash would cover it.
