"""MoCHi on digits, ResNet-8: to try a run on a CPU.

Command: python tools/train.py selfsup/digits/mochi.py
"""

_base_ = 'moco_v2.py'

model = dict(type='MoCHi', hardest=64, of_keys=64, of_query=16, warmup_epochs=2)
