"""i-Mix on MoCo v2 on 10,000 images of CIFAR-10, ResNet-20, 40 epochs: what a CPU trains.

Command: python tools/train.py selfsup/cifar10_resnet20/i_mix.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(type='Mixup', fold=True), weights=(0, 1), negatives='batch', partners='permuted', hidden_norm=True
)
