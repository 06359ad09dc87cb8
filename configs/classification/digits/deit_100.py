"""A small DeiT on 100 images of scikit-learn's digits, 400 epochs: few images and a transformer that memorises them.

Ten training images a class are drawn once, by a fixed seed; validation reads all 355 test images. Sixteen patches of
4 x 4 pixels.
Command: python tools/train.py classification/digits/deit_100.py
"""

_base_ = [
    '../../_base_/datasets/digits.py',
    '../../_base_/schedules/adamw_cosine_warmup.py',
    '../../_base_/runtime.py',
]

train_dataloader = dict(batch_size=50, dataset=dict(subset=100))
auto_scale_lr = dict(base_batch_size=50)
model = dict(
    type='MixClassifier',
    backbone=dict(
        type='TimmBackbone', name='deit_tiny_patch16_224', img_size=16, patch_size=4, depth=4, drop_path_rate=0.1
    ),
    head=dict(type='LinearHead', init_std=0.02, loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
train_cfg = dict(max_epochs=400, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=40))
