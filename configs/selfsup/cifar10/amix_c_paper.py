"""AMix-C on CIFAR-10, ResNet-18 with CIFAR stem, as Automatic Mixup, Sections 3 and 4.2.

200 clusters; the least size of a cluster and the intervals are a choice, since the paper states none.
Command: python tools/train.py selfsup/cifar10/amix_c_paper.py
"""

_base_ = ['amix_i_paper.py', '../../_base_/selfsup/amix_c.py']

model = _base_.pop('amix_c')
model.bank.update(least=50)
