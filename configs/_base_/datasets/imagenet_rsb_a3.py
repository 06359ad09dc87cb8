# ImageNet-1k as RSB A3 reads it: batch 2048, RandAugment 6/0.5 at 160 px, tested on the centre 0.95 at 224 px;
# validation as in imagenet.py.
_base_ = 'imagenet.py'

train_dataloader = dict(
    batch_size=2048,
    dataset=dict(
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=160, interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
            dict(type='RandAugment', magnitude=6, std=0.5, size=160),
        ]
    ),
)
val_dataloader = dict(
    batch_size=512,
    dataset=dict(
        pipeline=[
            dict(type='torchvision/Resize', size=235, interpolation='bicubic'),
            dict(type='torchvision/CenterCrop', size=224),
        ]
    ),
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=2048)
