"""Self-Tuning with Mixup on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 62.38, 74.65 and 81.46 % with 15, 30 and 50 % of the labels, best validation.
For more labels: --cfg-options train_dataloader.dataset.labelled.subset=0.3
Command: python tools/train.py transfer/cub200/self_tuning_mixup_resnet50.py
"""

_base_ = ['self_tuning_resnet50.py', '../../_base_/transfer/openmixup.py']

model = dict(branch=dict(policy=dict(type='Mixup', alpha=0.2), loss=dict(type='mix_ce')))
# The released code mixes the labelled images with one another, too.
published = {
    'model.labelled_branch': dict(policy=dict(type='Mixup', alpha=0.2, share='batch'), loss=dict(type='mix_ce'))
}
