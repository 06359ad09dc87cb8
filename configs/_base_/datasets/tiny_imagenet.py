# Tiny-ImageNet-200 at 64 px, batch 100, RandomResizedCrop and flip. The papers differ on the crop: decoupled
# mixup states a 4 px padded crop, automatic mixup RandomResizedCrop, and the runs behind both used the latter.
# Validation runs on the official validation images every epoch, as the papers read their numbers. To choose
# anything by validation, hold images out: val_fraction=0.1 in both data sets and split='val' in the second.
model = dict(
    data_preprocessor=dict(
        type='ImagePreprocessor',
        augment=[
            dict(type='BatchRandomResizedCrop', size=64, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='BatchRandomFlip'),
        ],
    )
)
# Images stay in memory: a batch is one index operation, and workers would only copy it.
train_dataloader = dict(
    batch_size=100,
    num_workers=0,
    pin_memory=True,
    dataset=dict(type='TinyImageNet', root='data/tiny-imagenet-200', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    pin_memory=True,
    dataset=dict(type='TinyImageNet', root='data/tiny-imagenet-200', split='test'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='identity_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# The global batch that recipes state their learning rate for.
auto_scale_lr = dict(base_batch_size=100, enable=False)
