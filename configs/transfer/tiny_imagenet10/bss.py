"""BSS on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/bss.py --weights FILE
"""

_base_ = 'fine_tuning.py'

model = dict(type='BSS', weight=0.001, count=1)
