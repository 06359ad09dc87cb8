"""TokenMix beside Mixup, half of the batches each, with the small DeiT of `deit_tiny.py`.

Command: python tools/train.py classification/tiny_imagenet/deit_tiny_tokenmix.py
"""

_base_ = 'deit_tiny.py'

model = dict(
    policy=dict(
        _delete_=True,
        type='OneOf',
        policies=[dict(type='Mixup', alpha=0.8), dict(type='TokenMix')],
        probs=[0.5, 0.5],
    ),
)
