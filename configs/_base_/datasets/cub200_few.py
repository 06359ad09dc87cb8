# CUB-200-2011 with 15 % of the labels and no other images: 48 images a batch, squeezed to a square and cropped, as BSS
# and Co-Tuning fine-tune. The share is of each class, rounded up; the seed of the run draws it. The published lists of
# images are used by subset='FILE'. Validation images are squeezed to the same square, for a model with ten_crop=224.
_base_ = 'cub200.py'

square = dict(type='torchvision/Resize', size=(256, 256), interpolation='bilinear')
train_dataloader = dict(
    batch_size=48,
    dataset=dict(
        subset=0.15,
        split_seed=None,
        pipeline=[
            square,
            dict(type='torchvision/RandomResizedCrop', size=224),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(dataset=dict(pipeline=[square]))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=48)
del square  # Nothing reads it as a key of the recipe, and its hash would cover it.
