# FGVC-Aircraft with 15 % of the labels, as CUB-200-2011.
_base_ = 'cub200_few.py'

train_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
test_dataloader = val_dataloader
