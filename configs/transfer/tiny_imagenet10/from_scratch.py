"""Training on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18 from random weights.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/from_scratch.py
"""

_base_ = 'fine_tuning.py'

# All layers learn at one rate, which is higher.
optim_wrapper = dict(optimizer=dict(lr=5e-2), paramwise_cfg=dict(parts=dict(head=dict(lr=5e-2))))
