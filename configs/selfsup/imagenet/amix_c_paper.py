"""AMix-C on ImageNet-1k, ResNet-50, as Automatic Mixup, Sections 3 and 4.2.

200 clusters; the least size of a cluster and the intervals are a choice, since the paper states none.
Command: python tools/train.py selfsup/imagenet/amix_c_paper.py
"""

_base_ = 'amix_i_paper.py'

model = dict(
    policy=dict(mixer_losses=[dict(type='mix_ce', of='labels'), dict(type='pair_bce', of='keys', temperature=0.2)]),
    labels='clusters',
    bank=dict(type='ClusterBank', clusters=200, momentum=0.0, least=1000, centroids_every=250, small_every=50),
)
