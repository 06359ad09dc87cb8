"""C-Mixup on rotated digits: images of near angles are mixed.

Command: python tools/train.py regression/rotated_digits/c_mixup.py
"""

_base_ = './resnet20.py'

model = dict(
    policy=dict(
        _delete_=True,
        type='PairedBy',
        by='label_distance',
        bandwidth=0.2,
        policy=dict(type='Mixup', alpha=2.0),
    ),
)
