"""AMix-I on the unlabelled images of STL-10, ResNet-18, as Automatic Mixup, Sections 3 and 4.2.

The block is trained by the optimiser of the network, since the paper states no other.
Command: python tools/train.py selfsup/stl10/amix_i_paper.py
"""

_base_ = ['moco_v2.py', '../../_base_/selfsup/amix_i.py']

model = _base_.pop('amix_i')
