# Your own images with numbers: <root>/train.csv and <root>/val.csv, with file,target in the first line and one image in
# every other, its path from <root>. Set `root`, and `targets` if your columns have other names, in both data sets.
_base_ = '../loaders/files.py'

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        type='NumberList',
        root='data/numbers',
        split='train',
        size=224,
        pipeline=[
            dict(type='torchvision/Resize', size=(224, 224), interpolation='bicubic'),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='NumberList',
        root='data/numbers',
        split='val',
        size=224,
        pipeline=[dict(type='torchvision/Resize', size=(224, 224), interpolation='bicubic')],
    )
)
val_evaluator = dict(_delete_=True, type='RegressionError')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=64)
