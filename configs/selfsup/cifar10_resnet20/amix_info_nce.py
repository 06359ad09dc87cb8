"""AMix with a Mix Block that learns from infoNCE alone, on 10,000 images of CIFAR-10, ResNet-20, 40 epochs.

Command: python tools/train.py selfsup/cifar10_resnet20/amix_info_nce.py
"""

_base_ = 'amix_i.py'

model = dict(policy=dict(mixer_losses=[dict(type='info_nce', of='queue')]))
