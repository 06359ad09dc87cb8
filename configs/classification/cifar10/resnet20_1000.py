"""ResNet-20 on 1,000 images of CIFAR-10, 100 epochs: so few that the network memorises them.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). 100 training images a class and 200 test images a class
are drawn once, by a fixed seed.
Command: python tools/train.py classification/cifar10/resnet20_1000.py
"""

_base_ = './resnet20_small.py'

train_dataloader = dict(dataset=dict(subset=1000))
train_cfg = dict(max_epochs=100, val_interval=20)
