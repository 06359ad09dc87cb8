# ResNet-20 on CIFAR-10 with 250 labels, from a folder of images: 13,000 steps of 8 labelled and 56 unlabelled images,
# which a CPU trains. The momentum of the average is scaled to the short run, that of the batch norms is PyTorch's 0.1,
# for all methods alike. The test images are read every 1,000 steps, and every 100 at the end.
# Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png).
_base_ = ['../datasets/cifar10_semisup.py', '../schedules/semisup.py', '../runtime.py']

images = dict(_delete_=True, type='ImageFolder', root='data/cifar10_images', in_memory=True, size=32)
model = dict(
    data_preprocessor=dict(channels_last=True),
    backbone=dict(type='ThinResNet', depth=20, width=16),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
)
train_dataloader = dict(
    batch_size=8 * (1 + 7),
    pin_memory=False,
    dataset=dict(labelled=dict(split='train', subset=250, split_seed=None, **images)),
)
val_dataloader = dict(pin_memory=False, dataset=dict(split='test', **images))
test_dataloader = val_dataloader
optim_wrapper = dict(type='AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=8 * (1 + 7))
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.002)]
train_cfg = dict(max_iters=13000, val_interval=1000, dynamic_intervals=[(11001, 100)])
default_hooks = dict(logger=dict(interval=500), checkpoint=dict(interval=1000, by_epoch=False))
