# AMix-I on top of MoCo v2, as Automatic Mixup, Sections 3 and 4.2. A recipe takes it by model = _base_.pop('amix_i').
amix_i = dict(
    policy=dict(
        type='AMix',
        alpha=2.0,
        share='batch',
        adjust_prob=1.0,
        mixer_losses=[dict(type='info_nce', of='queue'), dict(type='pair_bce', of='keys', temperature=0.2)],
    ),
    views='cross',
)
