"""Co-Tuning on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/co_tuning.py --weights FILE
"""

_base_ = 'fine_tuning.py'

# The source head is that of the file from which the backbone starts.
model = dict(type='CoTuning', source=dict(of_weights=True, num_classes=40), weight=2.3)
