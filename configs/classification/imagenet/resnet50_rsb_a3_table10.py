"""ResNet-50 on ImageNet-1k with RSB training at 224 px, as Decoupled Mixup prints it in Table 10.

No number of the paper fits it: see `resnet50_rsb_a3.py`.
Command: python tools/train.py classification/imagenet/resnet50_rsb_a3_table10.py
"""

_base_ = 'resnet50_rsb_a3.py'

model = dict(backbone=dict(drop_path_rate=0.05))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
            dict(type='RandAugment', magnitude=6, std=0.5),
        ]
    ),
    sampler=dict(_delete_=True, type='RepeatedAugSampler', repeats=3),
)
# As printed, so without the settings of the runs behind the numbers.
published = dict(_delete_=True)
