# RSB A3's schedule: LAMB in mixed precision, 5 epochs of warm-up, cosine to 1e-6, stepped every iteration; no decay
# of norms and biases. LAMB normalises the whole gradient to a norm of at most 1, as timm's does by default.
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='Lamb', lr=8e-3, weight_decay=0.02),
    constructor='PartConstructor',
    paramwise_cfg=dict(decay_vectors=False),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=5, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
