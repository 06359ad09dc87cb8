"""AlignMix on digits: images are interpolated, or the aligned features of the last stage, 15 epochs.

Command: python tools/train.py classification/digits/align_mix.py
"""

_base_ = 'resnet20.py'

model = dict(policy=dict(_delete_=True, type='AlignMix', sites=('', 'layer3')))
