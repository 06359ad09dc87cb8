"""MoCHi on the unlabelled images of STL-10, ResNet-18.

Command: python tools/train.py selfsup/stl10/mochi.py
"""

_base_ = 'moco_v2.py'

model = dict(type='MoCHi')
