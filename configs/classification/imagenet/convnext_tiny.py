"""ConvNeXt-T on ImageNet-1k with its authors' training: batch 4096, 20 epochs of warm-up, 300 in all.

Published: 82.10 % (OpenMixup's benchmark page, MCE), best epoch. Validation reports the moving average of the weights.
Command: python tools/train.py classification/imagenet/convnext_tiny.py
"""

_base_ = 'deit_small.py'

model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='convnext_tiny', drop_path_rate=0.1),
)
train_dataloader = dict(batch_size=4096, sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
optim_wrapper = dict(optimizer=dict(lr=4e-3), clip_grad=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=20, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=20, by_epoch=True, convert_to_iter_based=True),
]
# 0.9999 of the old value a step; the last of the base is its own average.
custom_hooks = [*_base_.custom_hooks[:-1], dict(type='EMAHook', momentum=1e-4)]
auto_scale_lr = dict(base_batch_size=4096)
