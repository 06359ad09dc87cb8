"""ResNet-8 on 1,000 images of Fashion-MNIST, 200 epochs: the smallest network of the family that memorises so few.

Data: as of resnet20_1000.py. It is validated once, at the end.
Command: python tools/train.py classification/fashion_mnist/resnet8_1000.py
"""

_base_ = './resnet20_1000.py'

model = dict(backbone=dict(depth=8))
train_cfg = dict(max_epochs=200, val_interval=200)
default_hooks = dict(checkpoint=dict(interval=20))
