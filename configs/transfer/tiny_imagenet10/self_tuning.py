"""Self-Tuning on ten classes of Tiny-ImageNet with 15 % of the labels, narrow ResNet-18: 300 steps.

Data: data/tiny-imagenet-10 is the official folder with ten classes in its wnids.txt.
Command: python tools/train.py transfer/tiny_imagenet10/self_tuning.py --weights FILE
"""

_base_ = '../../_base_/transfer/tiny_imagenet10.py'

# Two views by the same transforms: those of fine-tuning, then two operations of RandAugment and a square cut out.
view = [
    *_base_.model.data_preprocessor.augment,
    dict(type='BatchUniformRandAugment', layers=2),
    dict(type='BatchRandomSizeCutout', largest=0.5),
]
images = dict(_base_.train_dataloader.dataset)
model = dict(
    _delete_=True,
    type='SelfTuning',
    backbone=_base_.model.backbone,
    head=_base_.model.head,
    data_preprocessor=dict(
        type='ImagePreprocessor',
        channels_last=True,
        augment=dict(labelled=[view, view], unlabelled=[view, view]),
    ),
    # Half as wide as the features, as published.
    projector_width=64,
    temperature=0.07,
    # The momentum encoder follows within 4 % of the steps, as on CUB-200-2011 at 0.999 in 27,000 steps. A queue has as
    # many keys as a batch brings, the fewest possible: it is renewed 60 times, and those of CUB-200-2011 200 times.
    queue=12,
    momentum=0.91,
)
train_dataloader = dict(
    batch_size=12 * (1 + 1),
    sampler=dict(_delete_=True, type='PoolSampler'),
    dataset=dict(_delete_=True, type='Pools', labelled=images, ratio=1, keep_labelled=False),
)
del images, view
