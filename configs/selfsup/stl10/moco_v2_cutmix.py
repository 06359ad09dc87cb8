"""MoCo v2 with CutMix of the query views on the unlabelled images of STL-10, ResNet-18.

Command: python tools/train.py selfsup/stl10/moco_v2_cutmix.py
"""

_base_ = 'moco_v2.py'

model = dict(policy=dict(type='CutMix', share='batch'), views='cross')
