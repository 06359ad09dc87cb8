# Digits with 20 labels: 16 labelled and 112 unlabelled images a batch. Digits keep their side, so no view is flipped.
_base_ = 'digits.py'

weak = [dict(type='BatchRandomCrop', padding=2, mode='zero')]
strong = [dict(type='BatchUniformRandAugment', layers=3), dict(type='BatchRandomSizeCutout', largest=0.5), *weak]
model = dict(data_preprocessor=dict(augment=dict(_delete_=True, labelled=weak, unlabelled=[weak, strong])))
train_dataloader = dict(
    batch_size=16 * (1 + 7),
    drop_last=True,
    sampler=dict(_delete_=True, type='PoolSampler', replacement=True),
    dataset=dict(
        _delete_=True, type='Pools', labelled=dict(type='Digits', split='train', subset=20, split_seed=None), ratio=7
    ),
)
auto_scale_lr = dict(base_batch_size=16 * (1 + 7))
del weak, strong  # Nothing reads them as keys of the recipe, and its hash would cover them.
