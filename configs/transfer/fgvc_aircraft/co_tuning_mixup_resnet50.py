"""Co-Tuning with Mixup on FGVC-Aircraft with 15 % of the labels, ResNet-50 from ImageNet weights.

For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/fgvc_aircraft/co_tuning_mixup_resnet50.py
"""

_base_ = '../cub200/co_tuning_mixup_resnet50.py'

train_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
test_dataloader = val_dataloader
