# Images with boxes: workers read and transform them one by one, and a batch holds images of several sizes. Validation
# reads one image at a time, so that none is padded.
model = dict(data_preprocessor=dict(type='DetectionPreprocessor'))
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='identity_collate'),
)
val_evaluator = dict(type='VOCAveragePrecision')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# A data set states `base_batch_size`, the global batch that recipes state their learning rate for.
auto_scale_lr = dict(enable=False)
