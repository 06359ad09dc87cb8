"""Wide-ResNet-28-8 on CIFAR-100, as in Decoupled Mixup, Table 1.

Published: Mixup 82.82 % (MCE) and 83.51 % (DM(CE)), median of the last 10 epochs. The paper states the settings of
ResNet-18; its numbers are those of 400 epochs, lr 0.03 and weight decay 1e-3, which stand here.
Command: python tools/train.py classification/cifar100/wrn28_8.py
"""

_base_ = 'resnet18.py'

model = dict(backbone=dict(_delete_=True, type='WideResNet', depth=28, widen_factor=8))
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-3))
train_cfg = dict(max_epochs=400)
