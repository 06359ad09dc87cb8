"""FixMatch with DM(CE) and asymmetric mixing on CIFAR-10 with 250 labels, ResNet-20: 13,000 steps.

Command: python tools/train.py semisup/cifar10_resnet20/fixmatch_dm.py
"""

_base_ = 'fixmatch.py'

model = dict(
    branch=dict(
        policy=dict(type='Mixup', alpha=0.2),
        # One term of constant weight: the released code's weights by shares are of the two-sided loss.
        loss=dict(type='decoupled_ce', sides='own', eta=0.1, scale='none', least_share=0.0, skip_half=False),
        lam=(0, 0.5),
    )
)
