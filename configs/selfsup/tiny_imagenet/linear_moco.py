"""Linear evaluation on Tiny-ImageNet, ResNet-18 with CIFAR stem, as MoCo's released code has it.

The learning rate is 30, divided by 10 at epochs 60 and 80.
Command: python tools/train.py selfsup/tiny_imagenet/linear_moco.py --weights CHECKPOINT
"""

_base_ = 'linear_paper.py'

# torchvision's default, as in the pretraining.
model = dict(
    data_preprocessor=dict(
        augment=[
            dict(type='BatchRandomResizedCrop', size=64, scale=(0.08, 1.0), interpolation='bilinear'),
            dict(type='BatchRandomFlip'),
        ]
    )
)
optim_wrapper = dict(optimizer=dict(lr=30.0))
param_scheduler = [dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True)]
