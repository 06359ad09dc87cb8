# scikit-learn's handwritten digits at 16 px: real images, nothing to download.
# Digits keep their side, so no flip.
model = dict(
    data_preprocessor=dict(
        type='ImagePreprocessor',
        augment=[dict(type='BatchRandomCrop', padding=2, mode='zero')],
    )
)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='Digits', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(type='Digits', split='test'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='identity_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# The global batch that recipes state their learning rate for.
auto_scale_lr = dict(base_batch_size=64, enable=False)
