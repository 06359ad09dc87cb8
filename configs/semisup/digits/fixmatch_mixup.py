"""FixMatch with Mixup on digits with 20 labels, a small ResNet-8: 2,000 steps.

Command: python tools/train.py semisup/digits/fixmatch_mixup.py
"""

_base_ = 'fixmatch.py'

model = dict(branch=dict(policy=dict(type='Mixup', alpha=0.2), loss=dict(type='mix_ce')))
