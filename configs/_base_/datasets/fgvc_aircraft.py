# FGVC-Aircraft as both papers fine-tune on it: batch and transforms of CUB-200-2011, validation on the test images.
_base_ = 'cub200.py'

train_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
test_dataloader = val_dataloader
