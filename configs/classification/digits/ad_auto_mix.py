"""AdAutoMix on digits: a Mix Block that is trained against the classifier, 15 epochs.

Command: python tools/train.py classification/digits/ad_auto_mix.py
"""

_base_ = 'resnet20.py'

# The momentum encoder, which the run is judged by, follows within few steps; layer2 has 8 x 8 places.
model = dict(policy=dict(_delete_=True, type='AdAutoMix', site='layer2', momentum=0.9))
# Two losses of the classifier are added, so its rate is lower than the base's; the block has one of its own.
optim_wrapper = dict(
    optimizer=dict(lr=0.02),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts={'policy.mixer': dict(lr=0.05, weight_decay=0.0)}),
)
