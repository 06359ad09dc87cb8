"""Faster R-CNN R50-C4 on Pascal VOC 2007 and 2012 in 24,000 iterations, as in MoCo's transfer.

Published: MoCo v2 of 200 epochs 57.0 AP, 82.4 AP50, 63.6 AP75. The backbone is random unless --weights gives a file.
On 8 GPUs: tools/dist_train.sh detection/voc/faster_rcnn_resnet50_c4.py 8 --split-batch --weights FILE
Command: python tools/train.py detection/voc/faster_rcnn_resnet50_c4.py
"""

_base_ = ['../../_base_/datasets/voc.py', '../../_base_/schedules/sgd_24k.py', '../../_base_/runtime.py']

model = dict(type='FasterRCNN', backbone=dict(type='TorchvisionBackbone', name='resnet50'))
# Each process counts alike, as in detectron2.
sync_bn = 'equal'
custom_hooks = [*_base_.custom_hooks, dict(type='PreciseBNHook', iterations=200)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2000))
