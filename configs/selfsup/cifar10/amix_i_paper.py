"""AMix-I on CIFAR-10, ResNet-18 with CIFAR stem, as Automatic Mixup, Sections 3 and 4.2.

The block is trained by the optimiser of the network, since the paper states no other.
Command: python tools/train.py selfsup/cifar10/amix_i_paper.py
"""

_base_ = ['moco_v2.py', '../../_base_/selfsup/amix_i.py']

model = _base_.pop('amix_i')
