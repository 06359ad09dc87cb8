"""MoCo v2 on 10,000 images of CIFAR-10, ResNet-20, 40 epochs: what a CPU trains.

Command: python tools/train.py selfsup/cifar10_resnet20/moco_v2.py
"""

_base_ = '../../_base_/selfsup/cifar10_resnet20.py'
