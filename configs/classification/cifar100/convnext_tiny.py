"""ConvNeXt-T on CIFAR-100 at 32 px with DeiT training, as on OpenMixup's benchmark page, but for its stem.

Published: 83.09 % in 200 epochs and 84.12 % in 600 (MCE), the best of the last 10 epochs. The page's network begins
with a convolution of 3 x 3 pixels with stride 1; timm's stem, with patches of one pixel, has the same resolution.
Command: python tools/train.py classification/cifar100/convnext_tiny.py
"""

_base_ = 'deit_small.py'

train_dataloader = dict(dataset=dict(size=32))
val_dataloader = dict(batch_size=500, dataset=dict(size=32))
test_dataloader = val_dataloader

model = dict(
    data_preprocessor=dict(
        augment=[
            dict(type='BatchRandomCrop', padding=4),
            dict(type='BatchRandomFlip'),
            dict(type='BatchUniformRandAugment', layers=2),
        ]
    ),
    backbone=dict(_delete_=True, type='TimmBackbone', name='convnext_tiny', patch_size=1, drop_path_rate=0.3),
)
optim_wrapper = dict(clip_grad=None)
