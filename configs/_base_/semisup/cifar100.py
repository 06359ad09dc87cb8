# WRN-28-8 on CIFAR-100 with few labels: the other settings are those of CIFAR-10 but for the weight decay.
_base_ = ['../datasets/cifar100_semisup.py', '../schedules/semisup.py', '../runtime.py']

model = dict(
    backbone=dict(
        type='WideResNet',
        depth=28,
        widen_factor=8,
        bias=True,
        negative_slope=0.1,
        norm_eps=1e-3,
        norm_momentum=1e-3,
        transition='raw_shortcut',
    ),
    # Xavier's normal initialisation of 512 features and 100 classes.
    head=dict(type='LinearHead', loss=dict(type='mix_ce'), init_std=0.0572),
)
# The printed runs had TorchSSL's port of the network, in which two batch norms have no effect.
published = {'model.backbone.transition': 'raw'}
optim_wrapper = dict(optimizer=dict(weight_decay=1e-3))
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.001)]
default_hooks = dict(logger=dict(interval=500), checkpoint=dict(interval=5000, by_epoch=False))
