"""MoCo v2 with Mixup of the query views (cross-view, variant A) on the unlabelled images of STL-10, ResNet-18.

Command: python tools/train.py selfsup/stl10/moco_v2_mixup.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='Mixup', share='batch'), views='cross')
