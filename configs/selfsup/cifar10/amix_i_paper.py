"""AMix-I on CIFAR-10, ResNet-18 with CIFAR stem, as Automatic Mixup, Sections 3 and 4.2.

The block is trained by the optimiser of the network, since the paper states no other.
Command: python tools/train.py selfsup/cifar10/amix_i_paper.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(
        type='AMix',
        alpha=2.0,
        share='batch',
        adjust_prob=1.0,
        mixer_losses=[dict(type='info_nce', of='queue'), dict(type='pair_bce', of='keys', temperature=0.2)],
    ),
    views='cross',
)
