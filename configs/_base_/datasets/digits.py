# scikit-learn's handwritten digits at 16 px: real images, nothing to download. Kept in memory for a CPU, so not
# pinned for the way to a GPU as in memory.py.
_base_ = '../loaders/labelled.py'

# Digits keep their side, so no flip.
model = dict(data_preprocessor=dict(augment=[dict(type='BatchRandomCrop', padding=2, mode='zero')]))
train_dataloader = dict(batch_size=64, num_workers=0, dataset=dict(type='Digits', split='train'))
val_dataloader = dict(batch_size=500, num_workers=0, dataset=dict(type='Digits', split='test'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=64)
