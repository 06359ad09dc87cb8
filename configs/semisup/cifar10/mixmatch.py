"""MixMatch on CIFAR-10 with 250 labels, WRN-28-2, as in Decoupled Mixup, Table 7.

Published: 86.37 and 93.34 % with 250 and 4000 labels, the best validation. For more labels:
--cfg-options train_dataloader.dataset.labelled.subset=4000
Command: python tools/train.py semisup/cifar10/mixmatch.py
"""

_base_ = '../../_base_/semisup/cifar10.py'

views = _base_.model.data_preprocessor.augment
model = dict(type='MixMatch', data_preprocessor=dict(augment=dict(unlabelled=[views.labelled, views.labelled])))
train_dataloader = dict(batch_size=64 * (1 + 1), dataset=dict(ratio=1))
auto_scale_lr = dict(base_batch_size=64 * (1 + 1))
del views
