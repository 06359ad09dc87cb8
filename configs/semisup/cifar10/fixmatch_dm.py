"""FixMatch with DM(CE) and asymmetric mixing on CIFAR-10 with 250 labels, WRN-28-2, as in Decoupled Mixup, Table 7.

Published: 95.23 and 95.87 % with 250 and 4000 labels, the best validation. For more labels:
--cfg-options train_dataloader.dataset.labelled.subset=4000
Command: python tools/train.py semisup/cifar10/fixmatch_dm.py
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
