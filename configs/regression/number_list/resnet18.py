"""ResNet-18 on your own images with numbers, at 224 px: data/numbers/{train,val}.csv.

Command: python tools/train.py regression/number_list/resnet18.py \
    --cfg-options train_dataloader.dataset.root=DIR val_dataloader.dataset.root=DIR test_dataloader.dataset.root=DIR
"""

_base_ = [
    '../../_base_/datasets/number_list.py',
    '../../_base_/schedules/sgd_cosine.py',
    '../../_base_/runtime.py',
]

model = dict(
    type='MixRegressor',
    backbone=dict(type='TimmBackbone', name='resnet18', zero_init_last=False),
    head=dict(type='RegressionHead', loss=dict(type='mix_mse')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05))
train_cfg = dict(max_epochs=100)
