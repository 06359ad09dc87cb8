"""Self-Tuning with DM(CE) and asymmetric mixing on CUB-200-2011, 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 73.06, 79.50 and 82.64 % with 15, 30 and 50 % of the labels, best validation.
It does not state eta for ResNet-50.
For more labels: --cfg-options train_dataloader.dataset.labelled.subset=0.3
Command: python tools/train.py transfer/cub200/self_tuning_dm_resnet50.py
"""

_base_ = 'self_tuning_mixup_resnet50.py'

model = dict(
    branch=dict(
        # One term of constant weight: the released code's weights by shares are of the two-sided loss.
        loss=dict(type='decoupled_ce', sides='own', eta=0.1, scale='none', least_share=0.0, skip_half=False),
        lam=(0, 0.5),
    )
)
published = {
    'model.labelled_branch': dict(
        policy=dict(type='Mixup', alpha=0.2, share='batch'),
        loss=dict(type='decoupled_ce', eta=0.1, scale='share', least_share=0.001, skip_half=True),
    )
}
