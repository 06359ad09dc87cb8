"""AdAutoMix on digits: a Mix Block that is trained against the classifier, 15 epochs.

Command: python tools/train.py classification/digits/ad_auto_mix.py
"""

_base_ = 'resnet20.py'

model = dict(policy=dict(_delete_=True, type='AdAutoMix'))
