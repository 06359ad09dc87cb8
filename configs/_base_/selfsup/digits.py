# MoCo v2 on digits, a small ResNet-8: to try a run on a CPU. Digits keep their side, so no view is flipped.
_base_ = ['../datasets/digits.py', '../schedules/sgd_cosine.py', '../runtime.py']

transforms = [
    dict(type='BatchRandomResizedCrop', size=16, scale=(0.2, 1.0), interpolation='bilinear'),
    dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
    dict(type='BatchRandomGrayscale', p=0.2),
]
model = dict(
    type='MoCo',
    backbone=dict(type='ThinResNet', depth=8, width=8),
    queue=512,
    width=32,
    momentum=0.97,
    data_preprocessor=dict(augment=[dict(type='BatchMultiView', transforms=transforms)]),
)
train_dataloader = dict(batch_size=64, drop_last=True)
optim_wrapper = dict(optimizer=dict(lr=0.06, weight_decay=5e-4))
# One step of the cosine an epoch.
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=20, val_interval=10)
val_evaluator = dict(_delete_=True, type='KNNAccuracy', k=20, temperature=0.1)
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='FeatureBankHook')]
auto_scale_lr = dict(base_batch_size=64)
del transforms  # Nothing reads it as a key of the recipe, and its hash would cover it.
