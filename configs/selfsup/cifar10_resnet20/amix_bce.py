"""AMix with a Mix Block that learns from BCE alone, on 10,000 images of CIFAR-10, ResNet-20, 40 epochs.

Command: python tools/train.py selfsup/cifar10_resnet20/amix_bce.py
"""

_base_ = 'amix_i.py'

model = dict(policy=dict(mixer_losses=[dict(type='pair_bce', of='keys', temperature=0.2)]))
