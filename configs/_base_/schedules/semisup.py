# Semi-supervised runs of FixMatch and what came after it: 2^20 steps of SGD with Nesterov momentum; the learning rate
# is lr cos(7 pi k / (16 K)), which does not reach 0; no decay of norms and biases. The test images are read every 5,000
# steps, and every 1,000 in the last fifth.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4),
    constructor='PartConstructor',
    paramwise_cfg=dict(decay_vectors=False),
)
param_scheduler = [dict(type='CosineDecayLR', angle=7 / 16, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2**20, val_interval=5000, dynamic_intervals=[(838861, 1000)])
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
