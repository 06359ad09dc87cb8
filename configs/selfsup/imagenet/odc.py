"""ODC on ImageNet-1k, ResNet-50, as released.

Command: python tools/train.py selfsup/imagenet/odc.py
"""

_base_ = '../../_base_/selfsup/imagenet.py'

model = dict(
    _delete_=True,
    type='ODC',
    backbone=dict(type='TorchvisionBackbone', name='resnet50'),
    clusters=10000,
    data_preprocessor=dict(
        type='ImagePreprocessor',
        augment=[
            dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=1.0, hue=0.5),
            dict(type='BatchRandomGrayscale', p=0.2),
        ],
    ),
)
train_dataloader = dict(
    batch_size=512,
    drop_last=True,
    dataset=dict(
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bilinear'),
            dict(type='torchvision/RandomHorizontalFlip'),
            dict(type='torchvision/RandomRotation', degrees=2),
        ]
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.06, weight_decay=1e-5),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts=dict(head=dict(momentum=0.0))),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[400], gamma=0.4, by_epoch=True)]
train_cfg = dict(max_epochs=440, val_interval=20)
auto_scale_lr = dict(base_batch_size=512)
