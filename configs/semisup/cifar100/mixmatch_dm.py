"""MixMatch with DM(CE) and asymmetric mixing on CIFAR-100 with 400 labels, WRN-28-8, as in Decoupled Mixup, Table 7.

Published: 35.72, 62.51 and 74.70 % with 400, 2500 and 10000 labels, the best validation. For more labels:
--cfg-options train_dataloader.dataset.labelled.subset=2500
Command: python tools/train.py semisup/cifar100/mixmatch_dm.py
"""

_base_ = 'mixmatch.py'

model = dict(
    branch=dict(
        policy=dict(type='Mixup', alpha=0.2),
        # One term of constant weight: the released code's weights by shares are of the two-sided loss.
        loss=dict(type='decoupled_ce', sides='own', eta=0.1, scale='none', least_share=0.0, skip_half=False),
        lam=(0, 0.5),
    )
)
