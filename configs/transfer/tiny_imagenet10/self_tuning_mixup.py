"""Self-Tuning with Mixup on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/self_tuning_mixup.py --weights FILE
"""

_base_ = 'self_tuning.py'

model = dict(branch=dict(policy=dict(type='Mixup', alpha=0.2), loss=dict(type='mix_ce')))
