"""AMix-I on the unlabelled images of STL-10, ResNet-18, with the settings that Automatic Mixup's authors released.

The Mix Block has a learning rate of 0.005, which follows a cosine to 1e-4 after a warm-up of 10 epochs. The released
configs of STL-10 train the block by infoNCE alone; BCE is that of ImageNet's config of AMix-I. A linear evaluation is
to normalise as this recipe does.
Command: python tools/train.py selfsup/stl10/amix_i_authors_cosine.py
"""

_base_ = 'amix_i_paper.py'

model = dict(
    data_preprocessor=dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    policy=dict(
        adjust_prob=0.0,
        lam_margin=0.08,
        mask_form='squared',
        mask_schedule='cosine',
        variance_weight=2.0,
        mixer=dict(gamma=1.0, lam_rescale=1.0, dropout=0.0),
        mixer_losses=[
            dict(type='info_nce', of='queue'),
            dict(type='pair_bce', of='extrapolated_keys', temperature=0.2, schedule='cosine'),
        ],
    ),
    views='both',
)
optim_wrapper = dict(
    constructor='PartConstructor', paramwise_cfg=dict(parts={'policy.mixer': dict(lr=0.005, momentum=0.9)})
)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, parts=['']),
    dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=True, parts=['policy.mixer']),
    dict(type='LinearLR', start_factor=1e-5, end=10, convert_to_iter_based=True, parts=['policy.mixer']),
]
