"""AMix-C on 10,000 images of CIFAR-10, ResNet-20, 40 epochs: what a CPU trains.

50 clusters of at least 100 images; as the intervals, a choice for as few images.
Command: python tools/train.py selfsup/cifar10_resnet20/amix_c.py
"""

_base_ = ['amix_i.py', '../../_base_/selfsup/amix_c.py']

model = _base_.pop('amix_c')
model.bank.update(clusters=50, least=100, centroids_every=39, small_every=39)
