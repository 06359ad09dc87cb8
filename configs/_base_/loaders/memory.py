# Images that stay in memory: a batch is one index operation, and workers would only copy it. The preprocessor augments
# whole batches.
_base_ = 'labelled.py'

train_dataloader = dict(num_workers=0, pin_memory=True)
val_dataloader = dict(batch_size=500, num_workers=0, pin_memory=True)
test_dataloader = val_dataloader
