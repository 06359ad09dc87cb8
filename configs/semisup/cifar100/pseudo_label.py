"""Pseudo-Labeling on CIFAR-100 with 400 labels, WRN-28-8, as in Decoupled Mixup, Table 7.

Published: 12.55, 42.26 and 63.45 % with 400, 2500 and 10000 labels, the best validation. For more labels:
--cfg-options train_dataloader.dataset.labelled.subset=2500
Command: python tools/train.py semisup/cifar100/pseudo_label.py
"""

_base_ = '../../_base_/semisup/cifar100.py'

views = _base_.model.data_preprocessor.augment
model = dict(type='PseudoLabel', data_preprocessor=dict(augment=dict(unlabelled=[views.labelled])))
train_dataloader = dict(batch_size=64 * (1 + 1), dataset=dict(ratio=1))
auto_scale_lr = dict(base_batch_size=64 * (1 + 1))
del views
