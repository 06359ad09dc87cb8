"""AMix-C on the unlabelled images of STL-10, ResNet-18, with settings that Automatic Mixup's authors released.

No config of AMix-C on STL-10 was released: masks and rates are those of amix_i_authors_cosine.py, the losses and the
head of clusters, which has the Mix Block's rate and no momentum, those of ImageNet's config of AMix-C.
Command: python tools/train.py selfsup/stl10/amix_c_authors_cosine.py
"""

_base_ = ['amix_i_authors_cosine.py', '../../_base_/selfsup/amix_c.py']

model = _base_.pop('amix_c')
model.policy.mixer_losses = [
    dict(type='mix_ce', of='labels'),
    dict(type='pair_bce', of='interpolated_keys', temperature=0.2, schedule='cosine'),
]
optim_wrapper = dict(paramwise_cfg=dict(parts={'classes.head': dict(lr=0.005, momentum=0.0)}))
both = ['policy.mixer', 'classes.head']
param_scheduler = [_base_.param_scheduler[0], *[dict(one, parts=both) for one in _base_.param_scheduler[1:]]]
del both
