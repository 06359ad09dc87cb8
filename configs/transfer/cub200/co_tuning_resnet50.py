"""Co-Tuning on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 52.58, 66.47 and 74.64 % with 15, 30 and 50 % of the labels.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/cub200/co_tuning_resnet50.py
"""

_base_ = 'fine_tuning_resnet50.py'

# The relationship is known from the images before the first step; a fifth of them chooses and scales the regression.
model = dict(
    type='CoTuning',
    source=dict(name='torchvision/resnet50', weights='IMAGENET1K_V1'),
    calibration='resnet50_imagenet1k_v1',
    weight=2.3,
)
optim_wrapper = dict(optimizer=dict(nesterov=True))
