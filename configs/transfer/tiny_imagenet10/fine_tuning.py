"""Fine-tuning on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18: 300 steps.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/fine_tuning.py --weights FILE
"""

_base_ = '../../_base_/transfer/tiny_imagenet10.py'
