"""ODC on digits, ResNet-8: to try a run on a CPU.

Command: python tools/train.py selfsup/digits/odc.py
"""

_base_ = '../../_base_/selfsup/digits.py'

model = dict(
    _delete_=True,
    type='ODC',
    backbone=dict(type='ThinResNet', depth=8, width=8),
    clusters=20,
    dropout=0.0,
    momentum=0.9,
    width=32,
    hidden=64,
    data_preprocessor=dict(
        type='ImagePreprocessor',
        augment=[
            dict(type='BatchRandomResizedCrop', size=16, scale=(0.2, 1.0), interpolation='bilinear'),
            dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=1.0, hue=0.5),
            dict(type='BatchRandomGrayscale', p=0.2),
        ],
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.5, weight_decay=1e-5),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts=dict(head=dict(momentum=0.0))),
)
