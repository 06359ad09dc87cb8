"""A small ViT with MergeMix on digits, half of its batches mixed by Mixup, 100 epochs.

Command: python tools/train.py classification/digits/merge_mix.py
"""

_base_ = 'resnet20.py'

model = dict(
    # 4 x 4 patches of 4 px.
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        name='deit_tiny_patch16_224',
        img_size=16,
        patch_size=4,
        embed_dim=96,
        depth=4,
        num_heads=4,
    ),
    policy=dict(
        _delete_=True,
        type='OneOf',
        policies=[dict(type='Mixup', alpha=0.8), dict(type='MergeMix')],
        probs=[0.5, 0.5],
    ),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05))
# A transformer learns from few images slowly.
train_cfg = dict(max_epochs=100, val_interval=10)
