"""UDA on CIFAR-100 with 400 labels, WRN-28-8, as in Decoupled Mixup, Table 7.

Published: 53.61, 72.27 and 77.51 % with 400, 2500 and 10000 labels, the best validation. For more labels:
--cfg-options train_dataloader.dataset.labelled.subset=2500
Command: python tools/train.py semisup/cifar100/uda.py
"""

_base_ = '../../_base_/semisup/cifar100.py'

model = dict(type='UDA')
