# Your own images: <root>/train/<class>/*.jpg and <root>/val/<class>/*.jpg. Set `root` in both data sets.
#
# Classes are the folders of `train`, sorted; the head is sized by them. No separate validation images? Use
# split='train', val_fraction=0.1 for training and split='val', val_fraction=0.1 for validation.
# Small images (up to about 64 px) train faster from memory: dict(type='ImageFolder', root=..., split='train',
# size=32, in_memory=True) without a pipeline, num_workers=0, no persistent_workers, and the augmentation
# of cifar10.py in the preprocessor.
model = dict(data_preprocessor=dict(type='ImagePreprocessor'))
# Transforms of single images: torchvision's v2 as 'torchvision/Name', mmcv's by their own name. They leave
# uint8 images; the preprocessor scales and normalises them.
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
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
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type='ImageFolder',
        root='data/images',
        split='val',
        size=224,
        pipeline=[
            dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
            dict(type='torchvision/CenterCrop', size=224),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='identity_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# The global batch that recipes state their learning rate for.
auto_scale_lr = dict(base_batch_size=64, enable=False)
