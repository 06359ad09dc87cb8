"""AMix-C on digits, as Automatic Mixup, Sections 3 and 4.2.

20 clusters; the least size of a cluster and the intervals are a choice, since the paper states none.
Command: python tools/train.py selfsup/digits/amix_c_paper.py
"""

_base_ = 'amix_i_paper.py'

model = dict(
    policy=dict(mixer_losses=[dict(type='mix_ce', of='labels'), dict(type='pair_bce', of='keys', temperature=0.2)]),
    labels='clusters',
    bank=dict(type='ClusterBank', clusters=20, momentum=0.0, least=10, centroids_every=20, small_every=10),
)
