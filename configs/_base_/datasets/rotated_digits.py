# scikit-learn's digits, rotated by an angle that is to be told. A shift keeps the angle, and a flip would not.
_base_ = '../loaders/labelled.py'

model = dict(data_preprocessor=dict(augment=[dict(type='BatchRandomCrop', padding=2, mode='zero')]))
train_dataloader = dict(batch_size=64, num_workers=0, dataset=dict(type='RotatedDigits', split='train'))
val_dataloader = dict(batch_size=500, num_workers=0, dataset=dict(type='RotatedDigits', split='test'))
val_evaluator = dict(_delete_=True, type='RegressionError')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=64)
