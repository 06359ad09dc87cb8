"""A small Swin on 50 classes of Tiny-ImageNet, trained as Swin-T on ImageNet: 3 epochs in minutes of a CPU.

Data and settings as in `deit_tiny.py`; windows of 4 x 4 patches on maps of 16, 8 and 4.
Command: python tools/train.py classification/tiny_imagenet/swin_narrow.py
"""

_base_ = 'deit_tiny.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        name='swin_tiny_patch4_window7_224',
        img_size=64,
        window_size=4,
        embed_dim=48,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        drop_path_rate=0.1,
    ),
)
