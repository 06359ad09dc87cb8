# MoCo v2 on 10,000 images of CIFAR-10 from a folder, ResNet-20, 40 epochs: what a CPU trains. Queue, momentum and rate
# are scaled to the short run; views as on CIFAR-10. Both accuracies are those of 4,000 test images.
# Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png).
_base_ = './cifar10.py'

images = dict(_delete_=True, type='ImageFolder', root='data/cifar10_images', in_memory=True, size=32)
model = dict(
    backbone=dict(_delete_=True, type='ThinResNet', depth=20, width=16),
    data_preprocessor=dict(channels_last=True),
)
train_dataloader = dict(batch_size=128, pin_memory=False, dataset=dict(split='train', subset=10000, **images))
val_dataloader = dict(pin_memory=False, dataset=dict(split='test', subset=4000, **images))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='KNNAccuracy', k=200, temperature=0.1),
    dict(type='LogisticAccuracy'),
]
test_evaluator = val_evaluator
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(lr=0.03))
train_cfg = dict(max_epochs=40, val_interval=10)
default_hooks = dict(logger=dict(interval=78), checkpoint=dict(interval=5))
auto_scale_lr = dict(base_batch_size=128)
