"""MoCo v2 with Mixup of query and key views (cross-view, variant B) on the unlabelled images of STL-10, ResNet-18.

Command: python tools/train.py selfsup/stl10/moco_v2_mixup_both.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='both')
