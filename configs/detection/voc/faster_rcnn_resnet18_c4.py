"""Faster R-CNN R18-C4 on Pascal VOC 2007 and 2012, with the settings of the R50-C4.

The backbone is random unless --weights gives a file.
Command: python tools/train.py detection/voc/faster_rcnn_resnet18_c4.py
"""

_base_ = 'faster_rcnn_resnet50_c4.py'

model = dict(backbone=dict(name='resnet18'))
