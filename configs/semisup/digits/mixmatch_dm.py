"""MixMatch with DM(CE) and asymmetric mixing on digits with 20 labels, a small ResNet-8: 2,000 steps.

Command: python tools/train.py semisup/digits/mixmatch_dm.py
"""

_base_ = 'mixmatch.py'

model = dict(
    branch=dict(
        policy=dict(type='Mixup', alpha=0.2),
        loss=dict(type='decoupled_ce', sides='own', eta=0.1),
        lam=(0, 0.5),
    )
)
