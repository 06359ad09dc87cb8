# WRN-28-2 on CIFAR-10 with few labels: what the semi-supervised recipes share, all but the method.
_base_ = ['../datasets/cifar10_semisup.py', '../schedules/semisup.py', '../runtime.py']

model = dict(
    backbone=dict(
        type='WideResNet',
        depth=28,
        widen_factor=2,
        bias=True,
        negative_slope=0.1,
        norm_eps=1e-3,
        norm_momentum=1e-3,
        transition='raw_shortcut',
    ),
    # Xavier's normal initialisation of 128 features and 10 classes.
    head=dict(type='LinearHead', loss=dict(type='mix_ce'), init_std=0.1204),
)
# The printed runs had TorchSSL's port of the network, in which two batch norms have no effect.
published = {'model.backbone.transition': 'raw'}
# The average is of the weights alone; it is evaluated with the batch-norm statistics of the trained network.
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.001)]
default_hooks = dict(logger=dict(interval=500), checkpoint=dict(interval=5000, by_epoch=False))
