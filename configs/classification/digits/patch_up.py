"""Soft PatchUp on digits: a third of the batches each is mixed by CutMix, and by blocks at the first two sites.

Command: python tools/train.py classification/digits/patch_up.py
"""

_base_ = './resnet20.py'

model = dict(
    policy=dict(
        _delete_=True,
        type='OneOf',
        policies=[dict(type='CutMix'), dict(type='PatchUp', mode='soft', sites=('conv1', 'layer1'))],
        probs=[1 / 3, 2 / 3],
    )
)
