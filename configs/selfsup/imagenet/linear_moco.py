"""Linear evaluation on ImageNet-1k, ResNet-50, as MoCo's released code has it.

The learning rate is 30, divided by 10 at epochs 60 and 80.
Command: python tools/train.py selfsup/imagenet/linear_moco.py --weights CHECKPOINT
"""

_base_ = 'linear_paper.py'

# torchvision's default, as in the pretraining.
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bilinear'),
            dict(type='torchvision/RandomHorizontalFlip'),
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bilinear'),
            dict(type='torchvision/CenterCrop', size=224),
        ]
    )
)
test_dataloader = val_dataloader
param_scheduler = [dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True)]
