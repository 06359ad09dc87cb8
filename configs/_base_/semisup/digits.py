# A small network on digits with 20 labels, 2,000 steps: momenta are scaled to the short run, for all methods alike.
# That of the batch norms is PyTorch's 0.1.
_base_ = ['../datasets/digits_semisup.py', '../schedules/semisup.py', '../runtime.py']

model = dict(
    backbone=dict(type='ThinResNet', depth=8, width=8),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
)
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.01)]
train_cfg = dict(max_iters=2000, val_interval=50, dynamic_intervals=None)
default_hooks = dict(logger=dict(interval=500), checkpoint=dict(interval=1000, by_epoch=False))
