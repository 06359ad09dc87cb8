# Labelled images, each once an epoch: for training in a new order every time, for validation as the data set has them.
# Start from memory.py or files.py, which say where the images are while a run reads them.
model = dict(data_preprocessor=dict(type='ImagePreprocessor'))
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='identity_collate'),
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='identity_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# A data set states `base_batch_size`, the global batch that recipes state their learning rate for.
auto_scale_lr = dict(enable=False)
