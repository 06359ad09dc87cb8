"""FixMatch on digits with 20 labels, a small ResNet-8: 2,000 steps.

Command: python tools/train.py semisup/digits/fixmatch.py
"""

_base_ = '../../_base_/semisup/digits.py'

model = dict(type='FixMatch')
