"""Fine-tuning with Mixup on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/fine_tuning_mixup.py --weights FILE
"""

_base_ = 'fine_tuning.py'

model = dict(policy=dict(_delete_=True, type='Mixup', alpha=0.2))
