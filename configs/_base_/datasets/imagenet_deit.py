# ImageNet-1k as DeiT reads it: batch 1024, RandAugment 9/0.5, random erasing, an epoch of a third of the images with
# three copies of each; crops, tests and validation as in imagenet.py.
_base_ = 'imagenet.py'

model = dict(data_preprocessor=dict(augment=[dict(type='BatchRandomErasing', p=0.25)]))
train_dataloader = dict(
    batch_size=1024,
    dataset=dict(pipeline=[*_base_.train_dataloader.dataset.pipeline, dict(type='RandAugment', magnitude=9, std=0.5)]),
    sampler=dict(_delete_=True, type='RepeatedAugSampler', repeats=3),
)
val_dataloader = dict(batch_size=512)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=1024)
