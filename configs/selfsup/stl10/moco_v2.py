"""MoCo v2 on the unlabelled images of STL-10, ResNet-18.

Command: python tools/train.py selfsup/stl10/moco_v2.py
"""

_base_ = '../../_base_/selfsup/stl10.py'
