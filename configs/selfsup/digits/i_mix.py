"""i-Mix on MoCo v2 on digits.

Command: python tools/train.py selfsup/digits/i_mix.py
"""

_base_ = 'moco_v2.py'

model = dict(
    policy=dict(type='Mixup', fold=True), weights=(0, 1), negatives='batch', partners='permuted', hidden_norm=True
)
