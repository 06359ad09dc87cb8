# Your own images: <root>/train/<class>/*.jpg and <root>/val/<class>/*.jpg. Set `root` in both data sets.
#
# Classes are the folders of `train`, sorted; the head is sized by them. No separate validation images? Use
# split='train', val_fraction=0.1 for training and split='val', val_fraction=0.1 for validation.
# Small images (up to about 64 px) train faster from memory: dict(type='ImageFolder', root=..., split='train',
# size=32, in_memory=True) without a pipeline, over loaders/memory.py instead of files.py, and the augmentation
# of cifar10.py in the preprocessor.
_base_ = '../loaders/files.py'

# Transforms of single images: torchvision's v2 as 'torchvision/Name', mmcv's by their own name. They leave
# uint8 images; the preprocessor scales and normalises them.
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        type='ImageFolder',
        root='data/images',
        split='train',
        size=224,
        pipeline=[
            dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='ImageFolder',
        root='data/images',
        split='val',
        size=224,
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
            dict(type='torchvision/CenterCrop', size=224),
        ],
    )
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=64)
