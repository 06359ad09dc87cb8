"""Self-Tuning with DM(CE) and asymmetric mixing on digits with 20 labels, a small ResNet-8: 2,000 steps.

Command: python tools/train.py transfer/digits/self_tuning_dm.py
"""

_base_ = 'self_tuning.py'

model = dict(
    branch=dict(
        policy=dict(type='Mixup', alpha=0.2),
        # One term of constant weight: the released code's weights by shares are of the two-sided loss.
        loss=dict(type='decoupled_ce', sides='own', eta=0.1, scale='none', least_share=0.0, skip_half=False),
        lam=(0, 0.5),
    )
)
