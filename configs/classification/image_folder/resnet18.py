"""ResNet-18 on your own folder of images at 224 px: data/images/{train,val}/<class>/*.jpg.

Command: python tools/train.py classification/image_folder/resnet18.py \
    --cfg-options train_dataloader.dataset.root=DIR val_dataloader.dataset.root=DIR test_dataloader.dataset.root=DIR
"""

_base_ = ['../../_base_/datasets/image_folder.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TimmBackbone', name='resnet18', zero_init_last=False),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
