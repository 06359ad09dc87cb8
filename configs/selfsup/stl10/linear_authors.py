"""Linear evaluation on STL-10's labelled images, ResNet-18, as Automatic Mixup's authors released it.

The learning rate is 1, divided by 10 at epochs 60 and 80.
Command: python tools/train.py selfsup/stl10/linear_authors.py --weights CHECKPOINT
"""

_base_ = 'linear_moco.py'

optim_wrapper = dict(optimizer=dict(lr=1.0))
