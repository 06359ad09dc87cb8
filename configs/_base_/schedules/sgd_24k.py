# detectron2's schedule for Pascal VOC as MoCo has it: 24,000 iterations with a warm-up of 100, which ends one iteration
# later than that of LinearLR with an end of 100. Norms do not decay, biases do.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=101, by_epoch=False),
    dict(type='MultiStepLR', milestones=[18000, 22000], gamma=0.1, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=24000, val_interval=24000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
