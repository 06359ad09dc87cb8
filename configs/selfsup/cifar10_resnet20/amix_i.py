"""AMix-I on 10,000 images of CIFAR-10, ResNet-20, 40 epochs: what a CPU trains.

Command: python tools/train.py selfsup/cifar10_resnet20/amix_i.py
"""

_base_ = ['moco_v2.py', '../../_base_/selfsup/amix_i.py']

model = _base_.pop('amix_i')
