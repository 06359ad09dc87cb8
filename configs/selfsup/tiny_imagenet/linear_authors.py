"""Linear evaluation on Tiny-ImageNet, ResNet-18 with CIFAR stem, as Automatic Mixup's authors released it.

The learning rate is 0.1, divided by 10 at epochs 60 and 80.
Command: python tools/train.py selfsup/tiny_imagenet/linear_authors.py --weights CHECKPOINT
"""

_base_ = 'linear_moco.py'

optim_wrapper = dict(optimizer=dict(lr=0.1))
