"""Faster R-CNN R18-C4 of half the width on 364 images of blood cells, a small data set in Pascal VOC's format.

Data: data/BCCD is the folder of that name of https://github.com/Shenggan/BCCD_Dataset, with JPEGImages, Annotations and
ImageSets; two boxes of its trainval have no area. The backbone is that of
classification/tiny_imagenet/resnet18_narrow.py, whose weights --weights takes; else it is random.
Command: python tools/train.py detection/bccd/faster_rcnn_resnet18_c4_narrow.py
"""

_base_ = ['../../_base_/loaders/boxes.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

data = dict(type='VOCFolder', root='data/BCCD', bad_boxes='drop')
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        **data,
        split='trainval',
        empty='drop',
        pipeline=[
            dict(type='ResizeShortestSide', size=[224, 256, 288]),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    num_workers=1,
    pin_memory=False,
    dataset=dict(**data, split='test', pipeline=[dict(type='ResizeShortestSide', size=256)]),
)
test_dataloader = val_dataloader

model = dict(
    type='FasterRCNN',
    backbone=dict(type='TimmBackbone', name='resnet18', channels=(32, 64, 128, 256)),
    # Cells are 20 to 130 px long at 256 px.
    anchor_sizes=(16, 32, 64, 128),
    # A step spends its time in the last stage, which runs once a region, and in NMS on a CPU.
    pre_nms=(1000, 500),
    post_nms=(300, 150),
    rois=32,
)
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(lr=0.02), paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=101, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20, val_interval=5)
custom_hooks = [*_base_.custom_hooks, dict(type='PreciseBNHook', iterations=73)]  # one pass over the images
auto_scale_lr = dict(base_batch_size=4)
