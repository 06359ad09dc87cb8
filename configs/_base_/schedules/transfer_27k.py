# Transfer in 27,000 steps, as in Self-Tuning and in Decoupled Mixup, 4.3, which states the weight decay. With Nesterov
# momentum; the head learns ten times as fast; the rate falls tenfold after 6,000, 12,000, 18,000 and 24,000 steps.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts=dict(head=dict(lr=1e-2))),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[6000, 12000, 18000, 24000], gamma=0.1, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=27000, val_interval=3000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
