"""Training on CIFAR-10 with 250 labels from random weights, beside fine-tuning: EfficientNet-Lite0, 120 steps.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png).
All layers learn at one rate, which is higher.
Command: python tools/train.py transfer/cifar10_lite0/from_scratch.py
"""

_base_ = 'fine_tuning.py'

model = dict(backbone=dict(weights=None))
optim_wrapper = dict(optimizer=dict(lr=5e-2), paramwise_cfg=dict(parts=dict(head=dict(lr=5e-2))))
