"""FlexMatch on CIFAR-10 with 250 labels, WRN-28-2, as in Decoupled Mixup, Table 7.

Published: 95.02 and 95.81 % with 250 and 4000 labels, the best validation. For more labels:
--cfg-options train_dataloader.dataset.labelled.subset=4000
Command: python tools/train.py semisup/cifar10/flexmatch.py
"""

_base_ = '../../_base_/semisup/cifar10.py'

model = dict(type='FlexMatch')
