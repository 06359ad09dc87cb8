"""MoCo v2 on digits.

Command: python tools/train.py selfsup/digits/moco_v2.py
"""

_base_ = '../../_base_/selfsup/digits.py'
