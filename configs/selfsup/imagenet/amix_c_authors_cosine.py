"""AMix-C on ImageNet-1k, ResNet-18, with the settings that Automatic Mixup's authors released.

500 clusters; the Mix Block and the head of clusters have a learning rate of 0.05, which follows a cosine to 1e-4 after
a warm-up of 10 epochs; the head has no momentum.
Command: python tools/train.py selfsup/imagenet/amix_c_authors_cosine.py
"""

_base_ = ['amix_i_authors_cosine.py', '../../_base_/selfsup/amix_c.py']

model = _base_.pop('amix_c')
model.policy.update(
    site='layer3',
    smoothing=(0.5, 5.0),
    mixer_losses=[
        dict(type='mix_ce', of='labels'),
        dict(type='pair_bce', of='interpolated_keys', temperature=0.2, schedule='cosine'),
    ],
)
model.bank.update(clusters=500, least=800)
optim_wrapper = dict(
    paramwise_cfg=dict(parts={'policy.mixer': dict(lr=0.05), 'classes.head': dict(lr=0.05, momentum=0.0)})
)
both = ['policy.mixer', 'classes.head']
param_scheduler = [_base_.param_scheduler[0], *[dict(one, parts=both) for one in _base_.param_scheduler[1:]]]
del both
