"""GuidedMixup on digits, guided by spectral saliency: half of the batches are mixed, 15 epochs.

Command: python tools/train.py classification/digits/guided_mixup.py
"""

_base_ = 'resnet20.py'

model = dict(
    policy=dict(_delete_=True, type='OneOf', policies=[dict(type='GuidedMixup'), dict(type='NoMix')], probs=[0.5, 0.5])
)
