"""Self-Tuning with DM(CE) and asymmetric mixing on ten classes of Tiny-ImageNet, 15 % of the labels, narrow ResNet-18.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/self_tuning_dm.py --weights FILE
"""

_base_ = 'self_tuning_mixup.py'

model = dict(
    branch=dict(
        # One term of constant weight: the released code's weights by shares are of the two-sided loss.
        loss=dict(type='decoupled_ce', sides='own', eta=0.1, scale='none', least_share=0.0, skip_half=False),
        lam=(0, 0.5),
    )
)
