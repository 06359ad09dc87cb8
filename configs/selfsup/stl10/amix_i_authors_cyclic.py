"""AMix-I on the unlabelled images of STL-10, ResNet-18, with the cycles that Automatic Mixup's authors released.

The learning rate of the Mix Block rises from 5e-4 to 0.05 and falls again, twice, after a warm-up of 10 epochs; the
mask loss is the reward for variance alone. All else is as in amix_i_authors_cosine.py.
Command: python tools/train.py selfsup/stl10/amix_i_authors_cyclic.py
"""

_base_ = 'amix_i_authors_cosine.py'

model = dict(policy=dict(lam_margin=0.05, mean_weight=0.0))
optim_wrapper = dict(paramwise_cfg=dict(parts={'policy.mixer': dict(lr=5e-4)}))
cycles = dict(type='CyclicLR', peak=100.0, low=1.0, cycles=2, rise=0.4, convert_to_iter_based=True)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(cycles, parts=['policy.mixer']),
    _base_.param_scheduler[2],
]
del cycles
