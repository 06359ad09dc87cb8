"""Co-Tuning with Mixup and DM(CE) on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/co_tuning_dm.py --weights FILE
"""

_base_ = 'co_tuning.py'

model = dict(
    policy=dict(_delete_=True, type='Mixup', alpha=0.2),
    head=dict(loss=dict(_delete_=True, type='decoupled_ce', eta=0.1)),
)
