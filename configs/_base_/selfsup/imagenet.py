# MoCo v2 on ImageNet-1k: workers cut both crops from the file, and the rest of the augmentation is made on the device.
_base_ = ['../datasets/imagenet.py', '../schedules/sgd_cosine.py', '../runtime.py']

transforms = [
    dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
    dict(type='BatchGaussianBlur', sigma=(0.1, 2.0), p=0.5),
    dict(type='BatchRandomFlip'),
]
crop = [dict(type='torchvision/RandomResizedCrop', size=224, scale=(0.2, 1.0), interpolation='bilinear')]
model = dict(
    type='MoCo',
    backbone=dict(type='TorchvisionBackbone', name='resnet50'),
    queue=65536,
    data_preprocessor=dict(augment=transforms),
)
train_dataloader = dict(drop_last=True, dataset=dict(pipeline=[dict(type='MultiView', views=[crop, crop])]))
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
# One step of the cosine an epoch.
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=200, val_interval=20)
val_evaluator = dict(_delete_=True, type='KNNAccuracy', k=200, temperature=0.1)
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='FeatureBankHook')]
auto_scale_lr = dict(base_batch_size=256)
del transforms, crop
