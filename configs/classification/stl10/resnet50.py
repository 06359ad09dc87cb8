"""ResNet-50 (7x7 stem) on the 5,000 labelled images of STL-10, for Automatic Mixup, Table 1 (supervised columns).

The table has no number for it, and the paper no supervised recipe for this data set: learning rate, decay and epochs
are those of its other small sets.
Command: python tools/train.py classification/stl10/resnet50.py
"""

_base_ = 'resnet18.py'

model = dict(backbone=dict(name='resnet50'))
