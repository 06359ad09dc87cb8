"""AMix-C on ImageNet-1k, ResNet-18, with the cycles that Automatic Mixup's authors released.

The learning rates of the Mix Block and of the head of clusters rise from 0.005 to 0.5 and fall again, twice, after a
warm-up of 10 epochs. All else is as in amix_c_authors_cosine.py.
Command: python tools/train.py selfsup/imagenet/amix_c_authors_cyclic.py
"""

_base_ = 'amix_c_authors_cosine.py'

optim_wrapper = dict(paramwise_cfg=dict(parts={'policy.mixer': dict(lr=0.005), 'classes.head': dict(lr=0.005)}))
cycles = dict(type='CyclicLR', peak=100.0, low=1.0, cycles=2, rise=0.4, convert_to_iter_based=True)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(cycles, parts=['policy.mixer', 'classes.head']),
    _base_.param_scheduler[2],
]
del cycles
