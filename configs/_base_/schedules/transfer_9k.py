# Fine-tuning of ImageNet weights in 9,000 steps, as BSS and Co-Tuning report it: the new head learns ten times as fast,
# and the rate is divided by ten after 6,000 steps.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=5e-4),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts=dict(head=dict(lr=1e-2))),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[6000], gamma=0.1, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=9000, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
