"""AMix-I on ImageNet-1k, ResNet-18, with the settings that Automatic Mixup's authors released.

The Mix Block reads the last stage, and has a learning rate of 0.01, which follows a cosine to 1e-4 after a warm-up of
10 epochs.
Command: python tools/train.py selfsup/imagenet/amix_i_authors_cosine.py
"""

_base_ = 'amix_i_paper.py'

model = dict(
    backbone=dict(name='resnet18', zero_init_residual=True),
    policy=dict(
        site='layer4',
        adjust_margin=0.05,
        smoothing=(0.5, 6.0),
        lam_margin=0.1,
        mask_form='squared',
        mask_schedule='cosine',
        variance_weight=2.0,
        mixer=dict(gamma=1.0, lam_rescale=1.0, dropout=0.1),
        mixer_losses=[
            dict(type='info_nce', of='queue'),
            dict(type='pair_bce', of='extrapolated_keys', temperature=0.2, schedule='cosine'),
        ],
    ),
    views='both',
)
optim_wrapper = dict(
    constructor='PartConstructor', paramwise_cfg=dict(parts={'policy.mixer': dict(lr=0.01, momentum=0.9)})
)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, parts=['']),
    dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=True, parts=['policy.mixer']),
    dict(type='LinearLR', start_factor=1e-5, end=10, convert_to_iter_based=True, parts=['policy.mixer']),
]
