# AMix-C on top of AMix-I, as Automatic Mixup, Sections 3 and 4.2. A recipe takes it by model = _base_.pop('amix_c').
amix_c = dict(
    policy=dict(mixer_losses=[dict(type='mix_ce', of='labels'), dict(type='pair_bce', of='keys', temperature=0.2)]),
    labels='clusters',
    bank=dict(type='ClusterBank', clusters=200, momentum=0.0, least=100, centroids_every=250, small_every=50),
)
