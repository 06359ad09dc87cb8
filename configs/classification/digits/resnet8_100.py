"""ResNet-8 on 100 images of scikit-learn's digits, 200 epochs: few images, many epochs, a network that memorises them.

Ten training images a class are drawn once, by a fixed seed; validation reads all 355 test images.
Command: python tools/train.py classification/digits/resnet8_100.py
Cost: about 20 s of one CPU core.
"""

_base_ = 'resnet20.py'

train_dataloader = dict(batch_size=50, dataset=dict(subset=100))
auto_scale_lr = dict(base_batch_size=50)
model = dict(backbone=dict(depth=8))
train_cfg = dict(max_epochs=200, val_interval=10)
default_hooks = dict(checkpoint=dict(interval=20))
