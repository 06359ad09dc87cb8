"""AMix on STL-10, ResNet-18, with a Mix Block that learns from labels: CE (L) of Automatic Mixup, Table 1.

The 100,000 images that are contrasted have no labels, so each batch also has images of the 5,000 labelled ones, 32 of
256; the block mixes these with one another. The paper does not say where its labels are from. 350 passes over the
unlabelled images are as many steps as 400 without the labelled ones.
Command: python tools/train.py selfsup/stl10/amix_c_labels.py
"""

_base_ = 'amix_i_paper.py'

model = dict(policy=dict(mixer_losses=[dict(type='mix_ce', of='labels')]), labels='given')
train_dataloader = dict(
    sampler=dict(_delete_=True, type='PoolSampler'),
    dataset=dict(
        _delete_=True,
        type='Pools',
        labelled=dict(type='STL10', root='data/stl10', split='train'),
        unlabelled=dict(type='STL10', root='data/stl10', split='unlabelled'),
        ratio=7,
    ),
)
train_cfg = dict(max_epochs=350, val_interval=25)
