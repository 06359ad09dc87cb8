# Images that are read from their files every time: workers decode and augment them one by one.
_base_ = 'labelled.py'

train_dataloader = dict(num_workers=4, persistent_workers=True, pin_memory=True)
val_dataloader = dict(batch_size=64, num_workers=4, persistent_workers=True, pin_memory=True)
test_dataloader = val_dataloader
