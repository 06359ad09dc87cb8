"""RecursiveMix on digits: the mixed images of the batch before are pasted into each image, 15 epochs.

Command: python tools/train.py classification/digits/recursive_mix.py
"""

_base_ = 'resnet20.py'

model = dict(policy=dict(_delete_=True, type='RecursiveMix', site='layer3'))
