"""SK Mixup on digits.

Command: python tools/train.py classification/digits/sk_mixup.py
"""

_base_ = './resnet20.py'

model = dict(policy=dict(_delete_=True, type='SKMixup', tau_max=1.0, tau_std=0.5))
